//! A history as a picture: how much, how fast, and when there were which faults.

use std::collections::HashMap;
use std::time::Duration;

use super::Report;
use super::record::{Told, Which};
use crate::bench::timeline::{Line, Panel, Timeline};

/// What happened in each second: how long it took, in milliseconds.
#[derive(Default)]
struct Seconds(Vec<Vec<f64>>);

impl Seconds {
    fn add(&mut self, at: Duration, took: Duration) {
        let second = at.as_secs() as usize;
        if self.0.len() <= second {
            self.0.resize_with(second + 1, Vec::new);
        }
        self.0[second].push(took.as_secs_f64() * 1e3);
    }

    fn rate(&self, name: &'static str) -> Line {
        let points = self.0.iter().map(|took| Some(took.len() as f64));
        Line {
            name,
            points: points.collect(),
        }
    }

    fn quantile(&mut self, name: &'static str, q: f64) -> Line {
        let point = |took: &mut Vec<f64>| {
            took.sort_by(f64::total_cmp);
            let last = took.len().checked_sub(1)?;
            took.get((q * last as f64).round() as usize).copied()
        };
        Line {
            name,
            points: self.0.iter_mut().map(point).collect(),
        }
    }
}

/// The picture of a history.
pub(super) fn timeline(report: &Report) -> Timeline {
    let history = &report.history;
    let mut begun: HashMap<Which, Duration> = HashMap::new();
    let (mut stored, mut handled) = (Seconds::default(), Seconds::default());
    for one in &history.published {
        begun.insert(one.which, one.begun);
        if matches!(one.told, Told::At(_)) {
            stored.add(one.ended, one.ended.saturating_sub(one.begun));
        }
    }
    for group in &history.groups {
        let mut all: Vec<_> = group.processes.iter().flatten().collect();
        all.sort_by_key(|one| one.at);
        let mut known = std::collections::HashSet::new();
        for one in all.into_iter().filter(|one| known.insert(one.which)) {
            if let Some(begun) = begun.get(&one.which) {
                handled.add(one.at, one.at.saturating_sub(*begun));
            }
        }
    }
    let rates = vec![
        stored.rate("acknowledged"),
        handled.rate("handled, all groups"),
    ];
    let publish = vec![stored.quantile("p50", 0.5), stored.quantile("p99", 0.99)];
    let both = vec![handled.quantile("p50", 0.5), handled.quantile("p99", 0.99)];
    let panel = |title, unit, logarithmic, lines| Panel {
        title,
        unit,
        logarithmic,
        lines,
    };
    Timeline {
        title: report.to_string(),
        spans: report.faults.clone(),
        panels: vec![
            panel("events per second", "1/s", false, rates),
            panel("from publish to acknowledged", "ms", true, publish),
            panel("from publish to handled", "ms", true, both),
        ],
    }
}
