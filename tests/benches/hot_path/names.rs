//! Names of topics.

use std::fmt::Write;

pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            let mut name = String::new();
            write_name(&mut name, n);
            name
        })
        .collect()
}

pub(crate) fn write_name(name: &mut String, n: usize) {
    name.clear();
    write!(name, "orders.region{}.placed{n}", n % 7).expect("strings grow");
}

/// Goes through the names again and again, on each thread from another one on.
pub(crate) fn cycle<'a>(names: &'a [String], thread: usize) -> impl FnMut() -> &'a str {
    let mut next = thread * 31;
    move || {
        next = (next + 1) % names.len();
        &names[next]
    }
}
