//! What the core does per message, each part beside the plain way to do it.

mod admission;
mod counters;
mod credit;
mod directory;
mod flight;
mod handoff;
mod lookup;
mod names;
mod routing;

use jetbus_tests::bench::{Report, print_head};

/// Places of the window of publishes.
const WINDOW: u16 = 1024;

/// Each part with its name, by which `cargo bench` can be told to run it alone.
type Part = (&'static str, fn(&mut Report));

const PARTS: &[Part] = &[
    ("admission", admission::admission),
    ("lookup", lookup::lookup),
    ("lookup_beside_a_writer", lookup::lookup_beside_a_writer),
    ("routing", routing::routing),
    ("credit", credit::credit),
    ("flight", flight::flight),
    ("handoff", handoff::handoff),
    ("counters", counters::counters),
    ("directory", directory::directory),
];

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut filters = words
        .iter()
        .filter(|word| !word.starts_with('-'))
        .peekable();
    let all = filters.peek().is_none();
    let filters: Vec<_> = filters.collect();
    let mut report = Report::new("hot_path");
    print_head();
    for (name, part) in PARTS {
        if all || filters.iter().any(|filter| name.contains(filter.as_str())) {
            part(&mut report);
        }
    }
    report.finish()
}
