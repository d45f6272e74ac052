//! The smallest plan that still fails.

use super::plan::{Cuts, Plan};

/// A plan that fails and can do without nothing more, as far as was tried.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What was left out.
    pub cuts: Cuts,
    /// How many plans were tried.
    pub runs: usize,
}

/// Leaves out of `plan`, beyond `cuts`, one thing after the other, as long as it `fails`
/// without. Tries at most so many plans.
///
/// Every other plan is another history, so what is found is small, not smallest: a part
/// without which it fails again may have failed together with another.
pub fn shrink(
    plan: &Plan,
    cuts: &Cuts,
    most: usize,
    mut fails: impl FnMut(Plan) -> bool,
) -> Shrunk {
    let mut shrunk = Shrunk {
        cuts: cuts.clone(),
        runs: 0,
    };
    let mut smaller = true;
    while smaller {
        smaller = false;
        // What was not cut by now is tried again once something else was cut.
        let mut after = 0;
        while let Some(more) = shrunk.cuts.further(plan).into_iter().nth(after) {
            if shrunk.runs == most {
                return shrunk;
            }
            shrunk.runs += 1;
            if fails(more.of(plan)) {
                shrunk.cuts = more;
                smaller = true;
            } else {
                after += 1;
            }
        }
    }
    shrunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::{Entry, Said};
    use crate::sim::trial::Trial;

    /// Some handler failed, and some delivery was lost.
    fn fails(plan: Plan) -> bool {
        let entries = Trial::of(plan).history.entries;
        let failed = |entry: &Entry| {
            let said = Said::Failed;
            matches!(entry, Entry::Ended { said: how, .. } if *how == said)
        };
        let any = |what: &dyn Fn(&Entry) -> bool| entries.iter().any(|(_, entry)| what(entry));
        any(&failed) && any(&|entry| matches!(entry, Entry::Lost(_)))
    }

    #[test]
    fn a_plan_that_fails_becomes_a_smaller_one_that_fails() {
        let seed = (0..).find(|seed| fails(Plan::new(*seed)));
        let plan = Plan::new(seed.expect("there are many"));
        let Shrunk { cuts, runs } = shrink(&plan, &Cuts::default(), 60, fails);
        assert!(runs <= 60);
        let small = cuts.of(&plan);
        let events = |plan: &Plan| plan.events * plan.publishers * plan.processes() as u64;
        assert!(events(&small) < events(&plan) / 2, "{small:?}");
        assert!(small.topics.len() < plan.topics.len(), "{small:?}");
        // Without those it would not fail.
        assert!(small.handlings.values().any(|handling| handling.fail > 0));
        assert_ne!((small.faults.lose_in, small.stays), (0, None));
        assert!(fails(small));
    }

    #[test]
    fn a_plan_that_fails_whatever_is_left_out_ends_smallest() {
        let plan = Plan::new(7);
        let shrunk = shrink(&plan, &Cuts::default(), usize::MAX, |_| true);
        let small = shrunk.cuts.of(&plan);
        assert!(small.is_calm());
        let sizes = (small.events, small.publishers, small.topics.len());
        assert_eq!(sizes, (1, 1, 1));
    }

    #[test]
    fn no_more_plans_are_tried_than_allowed() {
        let mut tried = 0;
        let plan = Plan::new(7);
        let shrunk = shrink(&plan, &Cuts::default(), 5, |_| {
            tried += 1;
            false
        });
        assert_eq!((shrunk.runs, shrunk.cuts), (5, Cuts::default()));
        assert_eq!(tried, 5);
    }
}
