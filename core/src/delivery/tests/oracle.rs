//! Random histories against a plain model of the server and the workers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod sound;
mod world;

use self::sound::sound;
use self::world::{REDRIVEN, There, World, key};

#[derive(Clone, Debug)]
enum Op {
    Deliver(usize),
    /// A message that was delivered so often before.
    Crashed(u64),
    Redrive,
    /// The connection breaks, and so many deliveries are lost.
    Lose(usize),
    Ack(usize),
    Fail(usize, Option<u64>),
    GiveUp(usize),
    Nak(usize, u64),
    Return(usize),
    Progress(usize),
    TakeBack(usize),
    /// A message is delivered once more although it is held, or was just settled.
    Repeat(usize),
    Wait(u64),
    Link(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let number = || 0..100_usize;
    prop_oneof![
        8 => (1..20_usize).prop_map(Op::Deliver),
        1 => (1..12_u64).prop_map(Op::Crashed),
        2 => Just(Op::Redrive),
        1 => (1..6_usize).prop_map(Op::Lose),
        10 => number().prop_map(Op::Ack),
        4 => (number(), prop::option::of(0..2000_u64)).prop_map(|(n, t)| Op::Fail(n, t)),
        1 => number().prop_map(Op::GiveUp),
        2 => (number(), 0..3000_u64).prop_map(|(n, t)| Op::Nak(n, t)),
        1 => number().prop_map(Op::Return),
        1 => number().prop_map(Op::Progress),
        1 => number().prop_map(Op::TakeBack),
        2 => number().prop_map(Op::Repeat),
        4 => (0..5000_u64).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Link),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    let batch = (1..8_usize, 0..100_u64).prop_map(|(max, millis)| Batch {
        max,
        linger: Duration::from_millis(millis),
    });
    let at_share = prop_oneof![Just(AtShare::Stall), Just(AtShare::DeadLetter)];
    (
        1..40_usize,
        any::<u64>(),
        prop::option::of(batch),
        prop::option::of(1..4_u32),
        1..20_usize,
        at_share,
    )
        .prop_map(
            |(window, seed, batch, attempts, key_share, at_share)| Config {
                seed,
                batch,
                attempts,
                key_share,
                at_share,
                suspect_after: 5,
                crash_limit: 10,
                ..config(window)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn everything_is_handled_once_and_in_order(
        ops in prop::collection::vec(op(), 1..120),
        config in any_config(),
    ) {
        let mut world = World::new(config);
        for op in &ops {
            world.run(op)?;
        }
        // From here on all goes well, and nothing new is stored.
        world.link(true)?;
        for _ in 0..10_000 {
            while !world.running.is_empty() {
                world.finish(0, &Outcome::Ack)?;
            }
            if world.due_again().is_some() && world.deliver(0)? {
                continue;
            }
            if world.there.values().all(|there| *there == There::Settled) && world.delivery.idle() {
                break;
            }
            world.wait(500)?;
        }
        for (seq, there) in &world.there {
            prop_assert_eq!(*there, There::Settled, "{}", seq);
            prop_assert_eq!(world.handled.get(seq), Some(&1), "{}", seq);
        }
        prop_assert!((REDRIVEN + 1..=world.last).all(|seq| world.there.contains_key(&seq)));
        prop_assert!(world.delivery.idle());
        prop_assert!(world.delivery.batches.is_empty());
        prop_assert_eq!(world.delivery.free(), config.window);
    }

    #[test]
    fn stopping_leaves_nothing_and_gives_back_in_order(
        ops in prop::collection::vec(op(), 1..60),
        config in any_config(),
        take_back in any::<bool>(),
        patience in 0..20_usize,
    ) {
        let mut world = World::new(config);
        for op in &ops {
            world.run(op)?;
        }
        world.link(true)?;
        let held = world.delivery.keyed.iter().filter(|(_, held)| !held.is_away()).count();
        world.delivery.handle(world.now, Input::Stop);
        let mut given = BTreeMap::<u8, u64>::new();
        for round in 0.. {
            let out = out(&mut world.delivery);
            prop_assert!(out.jobs.is_empty(), "ran while stopping");
            for (seq, _, payload) in out.sent {
                let Some(of) = key(seq).filter(|_| payload.starts_with("-NAK")) else {
                    continue;
                };
                for job in world.running.iter().flat_map(|run| &run.jobs) {
                    prop_assert!(key(job.item) != Some(of), "past a running head");
                }
                if seq > REDRIVEN {
                    let before = given.insert(of, seq);
                    prop_assert!(before.is_none_or(|before| before < seq), "out of order");
                }
            }
            if round == patience {
                world.running.clear();
                world.delivery.handle(world.now, Input::Abandon);
                continue;
            }
            let Some(run) = world.running.pop() else {
                break;
            };
            let ids = run.jobs.iter().map(|job| job.id);
            if take_back {
                for (place, id) in ids.enumerate() {
                    prop_assert_eq!(world.delivery.take_back(id), place == 0);
                }
            } else {
                let outcomes = ids.map(|id| (id, Outcome::Settled)).collect();
                world.delivery.handle(world.now, Input::BatchDone(outcomes));
            }
            sound(&world.delivery)?;
        }
        prop_assert!(world.delivery.stopped());
        prop_assert_eq!(world.delivery.held(), 0);
        prop_assert_eq!(world.delivery.running(), 0);
        prop_assert_eq!(world.delivery.deadline(), None);
        let report = world.delivery.report();
        prop_assert_eq!(report.finished + report.returned + report.abandoned, held);
    }

    #[test]
    fn no_input_breaks_it(
        inputs in prop::collection::vec((0..17_u8, 0..20_u64, any::<u64>(), 0..4_u8), 0..200),
        config in any_config(),
        window in 0..5_usize,
        millis in 0..200_u64,
    ) {
        let ack_wait = Duration::from_millis(millis);
        let mut delivery = Delivery::new(Config { ack_wait, window, ..config });
        let mut jobs = Vec::new();
        for (what, seq, time, key) in inputs {
            // Time jumps, stands still and goes back.
            let now = Time::from_nanos(if time % 50 == 0 { time } else { time % 1_000_000_000 });
            let id = jobs.get(seq as usize % jobs.len().max(1)).copied();
            let after = Some(Duration::from_nanos(time));
            let ended = |outcome| id.map(|id| Input::Done { id, outcome });
            let input = match what {
                0..=3 => Some(message(seq, key.checked_sub(1), time % 12)),
                4 => ended(Outcome::Ack),
                5 => ended(failed(after)),
                6 => ended(Outcome::Nak { after }),
                7 => ended(Outcome::Returned),
                8 => id.map(|id| Input::Progress { id }),
                9 => Some(Input::Disconnected),
                10 => Some(Input::Connected),
                11 => Some(redriven(seq, key)),
                12 => Some(missing(seq, key.checked_sub(1), time % 12)),
                13 => ended(Outcome::Buried),
                14 => {
                    let named = jobs.iter().skip(seq as usize).step_by(1 + usize::from(key));
                    let outcomes = named.map(|id| match id.run % 2 {
                        0 => (*id, Outcome::Ack),
                        _ => (*id, failed(after)),
                    });
                    Some(Input::BatchDone(outcomes.collect()))
                }
                15 if time % 5 == 0 => Some(Input::Replaced),
                _ if time % 9 == 0 => Some(Input::Stop),
                _ if time % 9 == 1 => Some(Input::Abandon),
                _ => Some(Input::Tick),
            };
            if let Some(input) = input {
                delivery.handle(now, input);
            }
            if what == 8 && time % 2 == 0 {
                id.map(|id| delivery.take_back(id));
            }
            while let Some(output) = delivery.poll() {
                match output {
                    Output::Run(job) => jobs.push(job.id),
                    Output::RunBatch(batch) => jobs.extend(batch.iter().map(|job| job.id)),
                    Output::Publish(_) | Output::Event(_) => {}
                }
            }
            prop_assert!(delivery.publishes.len() <= 2 * window.max(1));
            sound(&delivery)?;
        }
    }
}
