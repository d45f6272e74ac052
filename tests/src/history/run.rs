//! One history, from its start to its verdict.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::StreamExt as _;
use jetbus::{Builder, Bus, NatsOptions, News, Stream};

use super::faults::{BUSES, Plan};
use super::field::{Field, STREAM, until};
use super::groups::Working;
use super::record::History;
use super::writers::Writers;
use super::{Options, Report, verdict};
use crate::bench::timeline::Span;
use crate::failure::{Doing as _, Failure};
use crate::operator::stored_now;
use crate::place::Place;

const TOPIC: &str = "orders.placed";

/// How long things may take once all is healed.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the writers of each bus wait: some longer than any fault lasts, some not.
const TIMEOUTS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(3)];

/// Writers of each bus that has them.
const WRITERS: usize = 2;

/// Groups: one reader each, and one that is shared by both.
pub(super) const GROUPS: [(&str, &[usize]); 3] =
    [("one", &[2]), ("other", &[3]), ("both", &[2, 3])];

/// When which bus told what.
type Heard = Arc<Mutex<Vec<(Duration, usize, News)>>>;

/// Makes a history.
///
/// # Errors
/// When it could not be made: a server does not start or recover, a publish does not end.
/// What is wrong with a history that could be made is in its verdict.
pub fn run(options: Options) -> Result<Report, Failure> {
    let mut field = Field::start()?;
    let places = [Place::tokio()?, Place::smol()];
    // Writers first, then readers: each on both runtimes.
    let buses = (0..BUSES)
        .map(|bus| open(&field, &places[bus % 2], bus))
        .collect::<Result<Vec<_>, _>>()?;
    let (since, heard) = (Instant::now(), Heard::default());
    for (number, bus) in buses.iter().enumerate() {
        listen(&places[0], bus, number, since, Arc::clone(&heard));
    }

    let groups = GROUPS.map(|(name, _)| Working::named(name));
    let mut subscriptions = Vec::new();
    for (group, (name, readers)) in groups.iter().zip(GROUPS) {
        for &reader in readers {
            let joining = group.clone().join(buses[reader].clone(), TOPIC, since);
            let joined = places[reader % 2].run(joining);
            subscriptions.push(joined.doing(format_args!("subscribing for {name}"))?);
        }
    }
    field.know_consumers()?;
    let (mut writers, done) = Writers::new();
    for (bus, place) in buses.iter().zip(&places) {
        let topic = bus.topic(TOPIC).doing("opening the topic")?;
        for _ in 0..WRITERS {
            writers.add(place.runtime(), &topic, since, &done);
        }
    }

    let outcome = suffer(&field, options, since);
    let failed = |why: Failure| {
        let logs = field.logs().join("\n---\n");
        Failure::new(format_args!("{logs}\nseed {}", options.seed), why)
    };
    let faults = outcome.map_err(failed)?;
    let Some(published) = writers.end(PATIENCE) else {
        return Err(failed(Failure::new("ending", "a publish has no outcome")));
    };
    for (bus, place) in buses.iter().zip(&places) {
        close(place, bus);
    }
    // Nothing is on its way any more.
    let mut stored = None;
    until(PATIENCE, || {
        stored = stored_now(field.server(0), STREAM);
        stored.is_some()
    });
    let Some(stored) = stored else {
        return Err(failed(Failure::new("reading the stream", "no answer")));
    };
    // What is not handled by then is in the verdict.
    until(PATIENCE, || {
        groups.iter().all(|group| group.handled() >= stored.len())
    });
    drop(subscriptions);
    for (bus, place) in buses.iter().zip(places.iter().cycle()).skip(2) {
        close(place, bus);
    }

    let known = |one: &crate::operator::Stored| {
        let which = super::record::Which::named(&one.key, one.number);
        let which = which.unwrap_or_else(|| panic!("{one:?} is no writer's"));
        let sequence = one.sequence;
        super::record::Stored { which, sequence }
    };
    let history = History {
        published,
        stored: stored.iter().map(known).collect(),
        groups: groups.iter().map(Working::seen).collect(),
    };
    let news = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Report {
        options,
        verdict: verdict::judge(&history),
        history,
        faults,
        logs: field.logs(),
        news,
    })
}

/// Lets faults happen until it is time; when there were which.
fn suffer(field: &Field, options: Options, since: Instant) -> Result<Vec<Span>, Failure> {
    let mut spans = Vec::new();
    for step in Plan::new(options.seed, GROUPS.len()) {
        pass(step.rest);
        if since.elapsed() >= options.lasts {
            break;
        }
        let from = since.elapsed();
        let names = step.faults.iter().map(ToString::to_string);
        let label = names.collect::<Vec<_>>().join(", ");
        let hurt = step.faults.iter().map(|fault| field.hurt(*fault));
        let wounds = hurt.collect::<Result<Vec<_>, _>>();
        let wounds = wounds.map_err(|why| Failure::new(&label, why))?;
        pass(step.lasts);
        for wound in &wounds {
            field.heal(wound)?;
        }
        let to = since.elapsed();
        spans.push(Span { from, to, label });
        field.recover()?;
    }
    Ok(spans)
}

/// Faults last for a time, and the time between them is one: the only waiting that is for
/// no condition.
fn pass(time: Duration) {
    thread::sleep(time);
}

fn open(field: &Field, place: &Place, bus: usize) -> Result<Bus, Failure> {
    let urls = field.urls(bus);
    let options = urls.iter().skip(1).fold(
        NatsOptions::new(&urls[0]).ping_interval(Duration::from_secs(1)),
        NatsOptions::server,
    );
    let builder = Builder::nats(options)
        .runtime(Arc::clone(place.runtime()))
        .stream(Stream::new(STREAM, ["orders.*"]).replicas(3))
        .publish_timeout(TIMEOUTS[bus % 2]);
    let opened = place.run(builder.open());
    opened.doing(format_args!("opening bus {bus}"))
}

fn close(place: &Place, bus: &Bus) {
    let bus = bus.clone();
    place.run(async move { bus.close().await });
}

/// Keeps what a bus tells, but that handlers failed.
fn listen(place: &Place, bus: &Bus, number: usize, since: Instant, heard: Heard) {
    let mut news = bus.news();
    place.runtime().spawn(Box::pin(async move {
        while let Some(news) = news.next().await {
            if !matches!(news, News::HandlerFailed { .. }) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push((since.elapsed(), number, news));
            }
        }
    }));
}
