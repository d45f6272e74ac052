//! Each ordering of the core that is stronger than `Relaxed` has a model that was seen to
//! fail without it, or a written argument.
//!
//! A comment that begins with `ordering:`, above the operation, names the models, or says
//! `argued` and why. A model that is named says in its own words which ordering of which
//! function it was seen to need. The list of all atomic operations, relaxed ones too, is
//! written to `target/orderings.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The orderings of atomics; `std::cmp` has others of the same type's name.
const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// How an ordering is written. It is imported under no other name.
const WRITTEN: &str = "Ordering::";

/// One operation on an atomic, by one thread.
#[derive(Debug)]
struct Operation {
    /// Relative to the core's sources, with the line.
    place: String,
    /// The function it stands in.
    function: String,
    /// The call that the ordering is an argument of.
    call: String,
    /// Of success, then of failure, where there are two.
    orderings: Vec<&'static str>,
    /// What its comment says after `ordering:`.
    shown: Option<String>,
}

impl Operation {
    fn is_relaxed(&self) -> bool {
        self.orderings.iter().all(|one| *one == "Relaxed")
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The core's source files that are not tests.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![package().join("../core/src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
            match path.is_dir() {
                _ if is_tests => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

/// The lines of a source before its tests.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a source");
    let lines = text.lines().map(str::to_owned);
    lines
        .take_while(|line| !line.starts_with("#[cfg(all(test"))
        .collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The name of the function whose head is on this line.
fn function(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let (before, after) = words.split_once("fn ")?;
    let is_head = before
        .split(' ')
        .all(|word| ["", "const", "async", "unsafe"].contains(&word) || word.starts_with("pub"));
    let end = after.find(['(', '<'])?;
    (is_head && !is_comment(line)).then(|| &after[..end])
}

/// The name before the bracket that was opened last in `before` and not closed.
fn call(before: &str) -> String {
    let mut open = 0;
    for (at, letter) in before.char_indices().rev() {
        match letter {
            ')' => open += 1,
            '(' if open == 0 => {
                let name = before[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_');
                return name.into_iter().next().unwrap_or_default().to_owned();
            }
            '(' => open -= 1,
            _ => {}
        }
    }
    panic!("no call is open: {before}");
}

/// What the nearest comment above `line` says of an ordering, down to `top`.
fn shown(lines: &[String], top: usize, line: usize) -> Option<String> {
    let begins = |line: &String| line.trim_start().starts_with("// ordering: ");
    let at = top + lines[top..line].iter().rposition(begins)?;
    let rest = lines[at..line].iter().take_while(|line| is_comment(line));
    let words = rest.map(|line| line.trim_start().trim_start_matches("//").trim());
    let text = words.collect::<Vec<_>>().join(" ");
    Some(text["ordering: ".len()..].to_owned())
}

/// The operations of a source, in its order.
fn operations(file: &Path) -> Vec<Operation> {
    let name = file.strip_prefix(package().join("../core/src"));
    let name = name.expect("a source of the core").display().to_string();
    let lines = lines(file);
    let mut operations = Vec::<Operation>::new();
    // Where the function began, and where the last operation that is not relaxed ended:
    // a comment is of one operation.
    let (mut begun, mut said) = (0, 0);
    let mut last_call = None;
    for (at, line) in lines.iter().enumerate() {
        if function(line).is_some() {
            (begun, said, last_call) = (at, at, None);
        }
        if is_comment(line) {
            continue;
        }
        for (column, _) in line.match_indices(WRITTEN) {
            let rest = &line[column + WRITTEN.len()..];
            let word = rest.split(|c: char| !c.is_alphanumeric()).next();
            let Some(ordering) = ORDERINGS.into_iter().find(|one| Some(*one) == word) else {
                continue;
            };
            let code = lines[begun..at].iter().filter(|line| !is_comment(line));
            let mut before: String = code.map(|line| format!("{line}\n")).collect();
            before.push_str(&line[..column]);
            let call = call(&before);
            // The second ordering of the call that the last one was in?
            let opened = before.rfind(&format!("{call}("));
            if last_call == Some((begun, opened))
                && let Some(operation) = operations.last_mut()
            {
                operation.orderings.push(ordering);
                said = at;
                continue;
            }
            last_call = Some((begun, opened));
            operations.push(Operation {
                place: format!("{name}:{}", at + 1),
                function: function(&lines[begun]).unwrap_or_default().to_owned(),
                call,
                orderings: vec![ordering],
                shown: shown(&lines, said, at),
            });
            said = at;
        }
    }
    operations
}

fn all_operations() -> Vec<Operation> {
    sources().iter().flat_map(|file| operations(file)).collect()
}

/// What a model says of itself, in the comment above it.
fn said_by(model: &str) -> Option<String> {
    let (part, name) = model.split_once("::")?;
    let file = package().join(format!("tests/models/{part}.rs"));
    let text = fs::read_to_string(file).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| function(line) == Some(name))?;
    let is_listed = lines[..at]
        .iter()
        .any(|line| line.trim() == format!("{name},"));
    let words = lines[..at].iter().rev();
    let words = words.take_while(|line| line.starts_with("///"));
    let mut words: Vec<&str> = words.map(|line| line[3..].trim()).collect();
    words.reverse();
    is_listed.then(|| words.join(" "))
}

/// Why `operation` is not shown to need its ordering.
fn objection(operation: &Operation) -> Option<String> {
    if operation.is_relaxed() {
        let is_bare = operation.shown.is_none();
        return (!is_bare).then(|| "a relaxed operation needs no model".to_owned());
    }
    let Some(shown) = &operation.shown else {
        return Some("neither a model nor an argument is named".to_owned());
    };
    if let Some(argument) = shown.strip_prefix("argued") {
        return (argument.len() < 10).then(|| "the argument is missing".to_owned());
    }
    let mut failed = Vec::new();
    for model in shown.split(", ") {
        let Some(said) = said_by(model) else {
            return Some(format!("there is no model {model:?}"));
        };
        let mutants = said.split_once("Seen to fail: ");
        let mutants = mutants.map_or("", |(_, mutants)| mutants);
        failed.extend(mutants.split(';').map(str::to_owned));
    }
    let name = format!("{}`", operation.function);
    let halves = match operation.orderings[0] {
        "AcqRel" => &["Acquire", "Release"][..],
        other => &[other],
    };
    // Some mutant without it, of each half, was seen to fail.
    let is_needed = |half: &str| {
        let mut mutants = failed.iter();
        mutants.any(|mutant| mutant.contains(half) && mutant.contains(&name))
    };
    let unneeded = halves.iter().find(|half| !is_needed(half))?;
    Some(format!(
        "no model that is named was seen to fail without {unneeded}"
    ))
}

#[test]
fn each_ordering_stronger_than_relaxed_has_a_model_or_an_argument() {
    let operations = all_operations();
    let objections: Vec<String> = operations
        .iter()
        .filter_map(|one| objection(one).map(|why| format!("{one:?}: {why}")))
        .collect();
    assert!(objections.is_empty(), "{}", objections.join("\n"));
    let strong = operations.iter().filter(|one| !one.is_relaxed()).count();
    // A reader that finds nothing would object to nothing.
    assert!(strong >= 20 && operations.len() > 2 * strong);

    let mut list = String::from("| where | function | operation | ordering | shown by |\n");
    list.push_str("|---|---|---|---|---|\n");
    for one in &operations {
        let orderings = one.orderings.join(", ");
        let shown = one.shown.as_deref().unwrap_or("");
        let (place, function, call) = (&one.place, &one.function, &one.call);
        writeln!(
            list,
            "| {place} | `{function}` | `{call}` | {orderings} | {shown} |"
        )
        .expect("there is room");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../orderings.md");
    fs::write(&target, list).expect("the target folder can be written to");
}

/// Else the reader above would overlook it.
#[test]
fn orderings_have_their_full_name() {
    for file in sources() {
        for (at, line) in lines(&file).iter().enumerate() {
            let imported = line.contains("Ordering::{") || line.contains("Ordering::*");
            let renamed = line.contains("Ordering as ") && !is_comment(line);
            let named = line.trim_start().starts_with("use ")
                && ORDERINGS
                    .iter()
                    .any(|one| line.contains(&format!("Ordering::{one}")));
            let what = format!("{}:{}: {line}", file.display(), at + 1);
            assert!(!(imported || renamed || named), "{what}");
            assert!(!line.contains("SeqCst") || is_comment(line), "{what}");
        }
    }
}
