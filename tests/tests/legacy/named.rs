//! The documentation's tables, and the tests that they name.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in the workspace")
}

fn page() -> String {
    let page = workspace().join("adapters/src/guarantees.rs");
    fs::read_to_string(page).expect("the page is there")
}

/// The last cell of each row of the page's tables.
fn proofs(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    cells.filter(|cell| !cell.starts_with("show"))
}

/// The tests that a cell names.
fn tests(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::"))
}

/// The file of a test, and that which lists it, if it is listed.
fn files(suite: &str, module: Option<&str>) -> (PathBuf, Option<PathBuf>) {
    let tests = workspace().join("tests/tests");
    let alone = tests.join(format!("{suite}.rs"));
    let main = tests.join(suite).join("main.rs");
    match (suite, module) {
        ("core", Some(module)) => {
            let file = format!("core/src/{module}/tests.rs");
            (workspace().join(file), None)
        }
        ("adapters", Some(module)) => {
            let file = workspace().join(format!("adapters/tests/{module}.rs"));
            (file.clone(), Some(file))
        }
        ("models", Some(module)) => {
            let file = workspace().join(format!("loom-tests/tests/models/{module}.rs"));
            (file.clone(), Some(file))
        }
        ("orderings", None) => (workspace().join("loom-tests/tests/orderings.rs"), None),
        (_, None) => (alone.clone(), Some(alone)),
        (_, Some(module)) => {
            let main = if main.exists() { main } else { alone };
            let file = tests.join(suite).join(format!("{module}.rs"));
            (file, Some(main))
        }
    }
}

/// What is wrong with the name of a test.
fn objection(test: &str) -> Option<String> {
    let parts: Vec<&str> = test.split("::").collect();
    let (suite, module, name) = match parts[..] {
        [suite, name] => (suite, None, name),
        [suite, module, name] => (suite, Some(module), name),
        _ => return Some("it has a suite, perhaps a module, and a name".to_owned()),
    };
    let (file, list) = files(suite, module);
    let Ok(text) = fs::read_to_string(&file) else {
        return Some(format!("there is no {}", file.display()));
    };
    let head = format!("fn {name}(");
    let Some(at) = text.find(&head) else {
        return Some(format!("it is not in {}", file.display()));
    };
    // Either it is a test by itself, or it is in the list of cases.
    let before = text[..at].trim_end_matches("async ").trim_end();
    let attribute = before.lines().next_back().unwrap_or_default().trim();
    let is_test = attribute.starts_with("#[") && attribute.contains("test");
    let entry = module.map_or_else(|| name.to_owned(), |module| format!("{module}::{name}"));
    let listed = list.is_some_and(|list| {
        let list = fs::read_to_string(list).unwrap_or_default();
        let is_entry = |line: &str| [&*entry, name].contains(&line.trim().trim_end_matches(','));
        list.lines().any(is_entry)
    });
    (!is_test && !listed).then(|| "nobody runs it".to_owned())
}

#[test]
fn each_test_that_the_documentation_names_is_there() {
    let page = page();
    let mut named = 0;
    let mut objections = Vec::new();
    for cell in proofs(&page) {
        let mut any = cell.starts_with("Open: ");
        for test in tests(cell) {
            any = true;
            named += 1;
            objections.extend(objection(test).map(|why| format!("{test}: {why}")));
        }
        if !any {
            objections.push(format!("no test is named: {cell}"));
        }
    }
    assert!(objections.is_empty(), "{}", objections.join("\n"));
    // A reader that finds nothing would object to nothing.
    assert!(named > 100, "{named}");
    assert!(objection("conformance::closing::nothing_of_the_kind").is_some());
    assert!(objection("conformance::nowhere::nothing_runs_on_after_a_close").is_some());
    assert!(
        objection("models::gate::race").is_some(),
        "no model, but a function"
    );
}

#[test]
fn each_case_of_this_suite_is_named_by_the_documentation() {
    let page = page();
    let list = fs::read_to_string(workspace().join("tests/tests/legacy/main.rs"));
    let list = list.expect("this suite is there");
    let cases = list
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','));
    let cases: Vec<_> = cases
        .filter(|case| case.contains("::") && !case.contains(['$', ' ']))
        .collect();
    assert!(cases.len() >= 7, "{cases:?}");
    for case in cases {
        assert!(page.contains(&format!("`legacy::{case}`")), "{case}");
    }
}
