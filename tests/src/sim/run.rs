//! A run: a plan made to happen, and what came of it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_core::Stream as _;
use futures_core::future::BoxFuture;
use jetbus::link::{BrokerConfig, EmbeddedBroker};
use jetbus::runtime::Runtime;
use jetbus::{Builder, Bus, News, NewsStream, Stream};
use jetbus_core::random::mix;
use jetbus_core::{Time, names};

use super::check::{Accounts, Violation, check};
use super::history::{Entries, Entry, Group, Held, History, Log, Rules};
use super::link::FaultyLink;
use super::plan::{Handling, Plan};
use super::rng::Rng;
use super::runtime::{Sim, Stuck};

mod handle;
mod publish;
mod reader;
mod recovery;
mod results;
mod unrest;
mod watch;

/// How long a bus waits for an answer to a request.
const REQUEST: Duration = Duration::from_secs(2);

/// How long after the storm everything must have been handled.
const PATIENCE: Duration = Duration::from_secs(240);

/// What came of a seed.
#[derive(Debug)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// What happened.
    pub history: History,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    schedule: u64,
}

impl Report {
    /// Equal for equal runs: every choice of the scheduler and the whole history.
    #[must_use]
    pub fn digest(&self) -> u64 {
        mix(self.history.digest() ^ self.schedule)
    }
}

/// Runs `seed` to its end.
///
/// # Errors
/// When it comes to no end.
pub fn run(seed: u64) -> Result<Report, Stuck> {
    run_plan(Plan::new(seed), &Entries::default())
}

/// Runs a plan to its end, and writes to `entries` what happens: what is there when it
/// comes to none. A whole history takes them out again.
///
/// # Errors
/// When it comes to no end.
pub fn run_plan(plan: Plan, entries: &Entries) -> Result<Report, Stuck> {
    let mut rng = Rng::new(plan.seed ^ 0x5eed);
    let sim = Sim::new(rng.next());
    let log = Log::new(&sim, entries);
    let world = World::new(plan.clone(), &sim, log, rng.fork());
    let result = sim.block_on(world.play(rng));
    if result.is_err() {
        sim.abandon();
    }
    let mut history = result?;
    // What is left are the ends of tasks that were told to end.
    sim.block_on(sim.sleep(Duration::from_secs(5)))?;
    history.left = world.left();
    sim.abandon();
    Ok(Report {
        violations: check(&history),
        plan,
        history,
        schedule: sim.schedule(),
    })
}

/// What the parts of a run share.
#[derive(Clone)]
struct World(Arc<Shared>);

struct Shared {
    plan: Plan,
    sim: Sim,
    runtime: Arc<dyn Runtime>,
    log: Log,
    rng: Mutex<Rng>,
    /// What each subscription held so far.
    held: Mutex<BTreeMap<u64, Held>>,
    /// The links of all buses.
    links: Mutex<Vec<Weak<FaultyLink>>>,
    /// Numbers events, calls, subscriptions and runs.
    next: AtomicU64,
}

/// A bus and the network that it is behind.
struct Process {
    number: usize,
    bus: Bus,
    link: Arc<FaultyLink>,
    subscriptions: unrest::Subscriptions,
    /// Those who read its results.
    readers: Work,
}

impl World {
    fn new(plan: Plan, sim: &Sim, log: Log, rng: Rng) -> Self {
        Self(Arc::new(Shared {
            plan,
            sim: sim.clone(),
            runtime: Arc::new(sim.clone()),
            log,
            rng: Mutex::new(rng),
            held: Mutex::default(),
            links: Mutex::default(),
            next: AtomicU64::new(1),
        }))
    }

    fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    fn with_rng<R>(&self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        draw(&mut self.0.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A subscription holds so many events now.
    fn holds(&self, subscription: u64, events: usize) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.entry(subscription).or_default();
        held.most = held.most.max(events);
        held.places = self.0.plan.held;
    }

    /// Remembers a link, but does not hold it.
    fn linked(&self, link: &Arc<FaultyLink>) {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push(Arc::downgrade(link));
    }

    /// What there still is, in words.
    fn left(&self) -> Vec<String> {
        let sim = &self.0.sim;
        let mut left = sim.describe_tasks();
        let counts = [("timers", sim.timers()), ("wakers", sim.wakers())];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        left.extend(counts.map(|(what, count)| format!("{count} {what}")));
        // Whatever holds something of a bus holds its link.
        let links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        let held = links.iter().enumerate();
        let held = held.filter(|(_, link)| link.strong_count() > 0);
        left.extend(held.map(|(bus, _)| format!("the link of bus {bus}")));
        left
    }

    async fn pause(&self, most: Duration) {
        let pause = self.with_rng(|rng| rng.up_to(most));
        self.0.sim.sleep(pause).await;
    }

    async fn play(&self, mut rng: Rng) -> History {
        let Shared { plan, sim, .. } = &*self.0;
        let broker = EmbeddedBroker::with_config(BrokerConfig {
            seed: rng.next(),
            ack_memory: plan.restarts.unwrap_or_default(),
            ..BrokerConfig::default()
        });
        let end = sim.now() + plan.storm;
        let work = Work::default();
        let reader = reader::Reader::new(&broker, &self.0.runtime).await;
        let mut processes = Vec::new();
        for _ in 0..plan.buses {
            let process = self.open(&broker, processes.len(), &mut rng).await;
            processes.push(process);
        }
        for process in &processes {
            self.begin(process, end, &work).await;
        }
        if plan.sabotage {
            self.pause(plan.storm / 2).await;
            let groups = self.groups();
            let victim = self.with_rng(|rng| rng.below(groups.len() as u64));
            let victim = usize::try_from(victim)
                .ok()
                .and_then(|victim| groups.get(victim));
            let consumer = victim.map_or("", |group| &group.consumer);
            self.0.log.add(Entry::Deleted {
                consumer: consumer.into(),
            });
            reader.delete_consumer(consumer).await;
        }
        if let Some(forgotten) = plan.restarts {
            self.pause(plan.storm / 2).await;
            self.restart(&broker, &processes, forgotten).await;
        }
        if let Some(time) = plan.leaderless {
            self.pause(plan.storm / 2).await;
            self.0.log.add(Entry::Leaderless { time });
            broker.lose_leaders(time).await;
            sim.sleep(time).await;
        }
        if plan.early_close
            && let Some(first) = processes.first()
        {
            self.pause(plan.storm / 2).await;
            self.close(first).await;
        }
        if plan.restart {
            let process = self.open(&broker, processes.len(), &mut rng).await;
            self.begin(&process, end, &work).await;
            processes.push(process);
        }
        sim.sleep_until(end).await;
        for process in &processes {
            process.link.set_faults(super::Faults::CALM);
        }
        work.ended().await;
        self.pause(plan.faults.late).await;

        let mut caught_up = self.caught_up(&reader, &processes).await;
        if caught_up
            && plan.redrives
            && let Some(last) = processes.last()
            && unrest::redrive(self, &last.bus, last.number).await
        {
            caught_up = self.caught_up(&reader, &processes).await;
        }
        for process in processes.iter().skip(usize::from(plan.early_close)) {
            recovery::check(self, &reader, process).await;
        }
        let windows = match caught_up {
            true => self.windows(&processes).await,
            false => BTreeMap::new(),
        };
        for process in &processes {
            self.close(process).await;
            process.readers.ended().await;
        }
        drop(processes);
        let stored = reader.read().await;
        let (letters, redriving) = (reader.letters().await, reader.redriving().await);
        reader.close().await;
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        History {
            entries: self.0.log.with(std::mem::take),
            stored,
            letters,
            redriving,
            held: held.clone(),
            groups: self.groups(),
            request_timeout: REQUEST,
            close_limit: plan.close_timeout + Duration::from_secs(2),
            calm: plan.is_calm(),
            lossy: plan.faults.lose_out > 0,
            ack_wait: plan.ack_wait,
            windows,
            left: Vec::new(),
        }
    }

    async fn open(&self, broker: &EmbeddedBroker, number: usize, rng: &mut Rng) -> Process {
        let Shared {
            plan,
            sim,
            runtime,
            log,
            ..
        } = &*self.0;
        let inner = broker.connect(Arc::clone(runtime)).await;
        let spent = self.groups().into_iter();
        let spent = spent.filter(|group| group.rules.at_most_once);
        let spent = spent.map(|group| group.consumer).collect();
        let watcher = watch::watcher(log, number, spent);
        let link = FaultyLink::new(Arc::new(inner), sim, rng.next(), watcher);
        let link = Arc::new(link);
        self.linked(&link);
        let bus = Builder::link(Arc::<FaultyLink>::clone(&link))
            .runtime(Arc::clone(runtime))
            .seed(rng.next())
            .stream(Stream::new("ORDERS", ["orders.>"]).atomic_batches(true))
            .window(plan.window)
            .publish_timeout(plan.publish_timeout)
            .request_timeout(REQUEST)
            .close_timeout(plan.close_timeout)
            .open()
            .await;
        if let Ok(bus) = &bus {
            sim.spawn(Box::pin(listen(log.clone(), number, bus.news())));
        }
        match bus {
            Ok(bus) => Process {
                number,
                bus,
                link,
                subscriptions: unrest::Subscriptions::default(),
                readers: Work::default(),
            },
            Err(error) => panic!("a bus on a calm link opens: {error}"),
        }
    }

    /// Lets it storm around a bus, publishes there and handles.
    async fn begin(&self, process: &Process, end: Time, work: &Work) {
        let Shared { plan, sim, .. } = &*self.0;
        results::start(self, process);
        process.link.set_faults(plan.faults);
        if let Some(stays) = plan.stays {
            let (link, gone) = (Arc::clone(&process.link), plan.gone);
            work.spawn(
                sim,
                Box::pin(async move { link.flicker(end, stays, gone).await }),
            );
        }
        for _ in 0..plan.publishers {
            let (world, bus, number) = (self.clone(), process.bus.clone(), process.number);
            work.spawn(
                sim,
                Box::pin(async move { publish::run(&world, &bus, number).await }),
            );
        }
        let (bus, number) = (process.bus.clone(), process.number);
        let started = handle::start(self, &bus, number).await;
        let subscriptions = process.subscriptions.clone();
        subscriptions.all().extend(started);
        let (world, sampled) = (self.clone(), subscriptions.clone());
        work.spawn(
            sim,
            Box::pin(async move {
                while world.0.sim.now() < end {
                    sampled.sample(&world);
                    world.0.sim.sleep(Duration::from_millis(50)).await;
                }
            }),
        );
        let bothered = unrest::bother(self.clone(), bus, number, subscriptions, end);
        work.spawn(sim, Box::pin(bothered));
    }

    /// Kills the broker and starts it again, as all buses see it.
    async fn restart(&self, broker: &EmbeddedBroker, processes: &[Process], forgotten: Duration) {
        for process in processes {
            process.link.disconnect();
        }
        self.0.log.add(Entry::Restarted { forgotten });
        broker.restart(forgotten).await;
        self.pause(self.0.plan.gone).await;
        for process in processes {
            process.link.reconnect().await;
        }
    }

    /// Waits until it is known of all that is stored what became of it, or it is time to
    /// say that it is not: whether it is.
    async fn caught_up(&self, reader: &reader::Reader, processes: &[Process]) -> bool {
        let sim = &self.0.sim;
        let groups = self.groups();
        let stored = reader.read().await;
        let end = sim.now() + PATIENCE;
        while sim.now() < end {
            for process in processes {
                process.subscriptions.sample(self);
            }
            let letters = reader.letters().await;
            let open = self.0.log.with(|entries| {
                let mut accounts = Accounts::new(entries, &groups);
                accounts.add(&letters);
                accounts.open(&stored).next().is_some()
            });
            if !open && reader.redriving().await.is_empty() {
                return true;
            }
            sim.sleep(Duration::from_millis(200)).await;
        }
        false
    }

    /// What is free of the publish windows, and their places, of the buses that are still
    /// open. Nothing is under way any more.
    async fn windows(&self, processes: &[Process]) -> BTreeMap<usize, (usize, usize)> {
        let mut windows = BTreeMap::new();
        // The last answers come.
        self.0.sim.sleep(Duration::from_secs(1)).await;
        for process in processes {
            if let Some(free) = publish::free(self, &process.bus).await {
                windows.insert(process.number, (free, self.0.plan.window));
            }
        }
        windows
    }

    /// Closes a bus, for several callers at once.
    async fn close(&self, process: &Process) {
        let work = Work::default();
        for _ in 0..3 {
            let (world, bus, number) = (self.clone(), process.bus.clone(), process.number);
            work.spawn(
                &self.0.sim,
                Box::pin(async move {
                    let log = &world.0.log;
                    let closer = world.number();
                    world.pause(Duration::from_millis(20)).await;
                    log.add(Entry::Closing {
                        bus: number,
                        closer,
                    });
                    let report = format!("{:?}", bus.close().await);
                    log.add(Entry::Closed {
                        bus: number,
                        closer,
                        report,
                    });
                }),
            );
        }
        work.ended().await;
    }

    fn groups(&self) -> Vec<Group> {
        let plan = &self.0.plan;
        let all = plan
            .topics
            .iter()
            .flat_map(|topic| topic.groups.iter().map(move |group| (topic.name, *group)));
        let mut groups: Vec<_> = all
            .map(|(topic, group)| Group {
                name: group.into(),
                topic: topic.into(),
                consumer: names::durable(group, topic, None).unwrap_or_default(),
                shared: plan.processes() > 1 || (plan.drains.is_some() && !plan.is_calm()),
                rules: plan.handling(topic, group).rules(),
            })
            .collect();
        if plan.solo {
            groups.extend(plan.topics.first().map(|topic| Group {
                name: handle::SOLO.into(),
                topic: topic.name.into(),
                consumer: String::new(),
                shared: plan.drains.is_some() && !plan.is_calm(),
                rules: Rules {
                    dead_letters: false,
                    ..Handling::PLAIN.rules()
                },
            }));
        }
        groups
    }
}

/// Writes what a bus tells of order and of what it gave up.
async fn listen(log: Log, bus: usize, mut news: NewsStream) {
    while let Some(news) = poll_fn(|cx| Pin::new(&mut news).poll_next(cx)).await {
        match news {
            News::Overtaken { topic, sequence } => log.add(Entry::Overtaken {
                bus,
                topic: (&*topic).into(),
                sequence,
            }),
            News::DeadLettered {
                topic,
                group,
                sequence,
                reason,
                ..
            } => log.add(Entry::DeadLettered {
                group: (&*group).into(),
                topic: (&*topic).into(),
                sequence,
                reason,
            }),
            _ => {}
        }
    }
}

/// Tasks to be waited for.
#[derive(Clone, Default)]
struct Work(Arc<(AtomicUsize, Mutex<Option<Waker>>)>);

impl Work {
    fn spawn(&self, sim: &Sim, task: BoxFuture<'static, ()>) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        let work = self.clone();
        sim.spawn(Box::pin(async move {
            task.await;
            work.0.0.fetch_sub(1, Ordering::Relaxed);
            let waiting = work.waiting().take();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }));
    }

    async fn ended(&self) {
        poll_fn(|cx| {
            if self.0.0.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(());
            }
            *self.waiting() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
