//! How much a process under a steady load may grow.

use std::time::Duration;

use super::sample::Sample;

/// How long a load warms up: a third of it, a minute at most.
#[must_use]
pub fn warm_up(lasts: Duration) -> Duration {
    (lasts / 3).min(Duration::from_secs(60))
}

/// Something that is counted, and how much more of it there may be after the warm-up than
/// in it, beside a quarter.
struct Bound {
    name: &'static str,
    unit: &'static str,
    of: fn(&Sample) -> u64,
    more: u64,
}

const BOUNDS: [Bound; 4] = [
    Bound {
        name: "RSS",
        unit: " bytes",
        of: |sample| sample.rss,
        more: 24 << 20,
    },
    Bound {
        name: "tasks",
        unit: "",
        of: |sample| sample.tasks,
        more: 64,
    },
    Bound {
        name: "threads",
        unit: "",
        of: |sample| sample.threads,
        more: 16,
    },
    Bound {
        name: "sockets",
        unit: "",
        of: |sample| sample.sockets,
        more: 16,
    },
];

/// What grew beyond its bound after the warm-up, in words. Without a sample in the
/// warm-up there is no bound.
#[must_use]
pub fn beyond(samples: &[(Duration, Sample)], warm_up: Duration) -> Vec<String> {
    let (warming, warm): (Vec<_>, Vec<_>) = samples.iter().partition(|(at, _)| *at <= warm_up);
    let check = |bound: &Bound| {
        let most = |samples: &[&(Duration, Sample)]| {
            samples.iter().map(|(_, sample)| (bound.of)(sample)).max()
        };
        let (before, after) = (most(&warming)?, most(&warm)?);
        let allowed = before + before / 4 + bound.more;
        let (name, unit) = (bound.name, bound.unit);
        (after > allowed).then(|| {
            format!("{name} grew from {before}{unit} to {after}{unit}, {allowed}{unit} are allowed")
        })
    };
    BOUNDS.iter().filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample each second, of which one field is `value(second)`.
    fn samples(set: impl Fn(&mut Sample, u64)) -> Vec<(Duration, Sample)> {
        let sample = |second| {
            let mut sample = Sample {
                rss: 40 << 20,
                tasks: 80,
                threads: 4,
                sockets: 2,
            };
            set(&mut sample, second);
            (Duration::from_secs(second), sample)
        };
        (1..=60).map(sample).collect()
    }

    fn found(set: impl Fn(&mut Sample, u64)) -> Vec<String> {
        beyond(&samples(set), warm_up(Duration::from_secs(60)))
    }

    #[test]
    fn what_stays_or_grows_while_it_warms_up_is_well() {
        assert_eq!(found(|_, _| ()), [""; 0]);
        assert_eq!(
            found(|sample, second| sample.tasks += 1_000 * second.min(20)),
            [""; 0]
        );
        assert_eq!(
            found(|sample, second| sample.rss += (second % 7) << 20),
            [""; 0]
        );
    }

    #[test]
    fn each_kind_of_growth_is_found() {
        let rss = found(|sample, second| sample.rss += second << 20);
        assert!(rss.len() == 1 && rss[0].starts_with("RSS grew"), "{rss:?}");
        let tasks = found(|sample, second| sample.tasks += 10 * second);
        assert!(
            tasks.len() == 1 && tasks[0].starts_with("tasks grew"),
            "{tasks:?}"
        );
        let threads = found(|sample, second| sample.threads += second);
        assert!(
            threads.len() == 1 && threads[0].starts_with("threads grew"),
            "{threads:?}"
        );
        let sockets = found(|sample, second| sample.sockets += second);
        assert!(
            sockets.len() == 1 && sockets[0].starts_with("sockets grew"),
            "{sockets:?}"
        );
    }
}
