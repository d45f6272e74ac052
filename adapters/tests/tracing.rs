//! The span of an attempt: what is inside of it, and what it says.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jetbus::{Bus, Delivery, Event, Handled, Layer, Service};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

thread_local! {
    /// The spans that this thread is in.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the fields of spans called `handle`, by their number from 1.
#[derive(Clone, Default)]
struct Spans {
    last: Arc<AtomicU64>,
    fields: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Spans {
    /// The fields of the attempt that this thread is in.
    fn here(&self) -> String {
        let fields = self.fields.lock().unwrap();
        INSIDE.with_borrow(|inside| {
            let known = fields.iter().filter(|(id, _)| inside.contains(id));
            known.map(|(_, fields)| fields.as_str()).collect()
        })
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        if span.metadata().name() == "handle" {
            let mut fields = Fields(String::new());
            span.record(&mut fields);
            self.fields.lock().unwrap().push((id, fields.0));
        }
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.retain(|id| *id != span.into_u64()));
    }
}

/// A layer that notes where it is called.
struct Noting(Spans, Arc<Mutex<Vec<String>>>);

struct Noted<S>(Spans, Arc<Mutex<Vec<String>>>, S);

impl<S> Layer<S> for Noting {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted(self.0.clone(), Arc::clone(&self.1), inner)
    }
}

impl<S: Service<Delivery<u32>>> Service<Delivery<u32>> for Noted<S> {
    async fn call(&self, event: Delivery<u32>) -> Handled {
        self.1.lock().unwrap().push(self.0.here());
        self.2.call(event).await
    }
}

#[tokio::test]
async fn each_attempt_has_a_span_around_layers_and_handler() {
    let spans = Spans::default();
    tracing::dispatcher::set_global_default(spans.clone().into()).unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let bus = Bus::embedded().await.unwrap();
    let orders = bus.topic("orders.placed").unwrap();
    let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
    let (noted, known) = (Arc::clone(&seen), spans.clone());
    let subscription = bus
        .subscribe("orders.placed")
        .group("billing")
        .layer(Noting(spans, Arc::clone(&seen)))
        .handle(move |event: Delivery<u32>| {
            let (noted, known, done) = (Arc::clone(&noted), known.clone(), done.clone());
            async move {
                tokio::task::yield_now().await;
                noted.lock().unwrap().push(known.here());
                match event.attempt() {
                    1 => Err("not yet"),
                    _ => Ok(done.send(()).unwrap()),
                }
            }
        })
        .await
        .unwrap();
    let event = Event::new("order-1", "OrderPlaced", 1);
    orders.publish(&event).await.unwrap();
    all_done.recv().await.unwrap();
    let span =
        |attempt| format!("topic=\"orders.placed\" key=\"order-1\" sequence=1 attempt={attempt} ");
    let expected = [span(1), span(1), span(2), span(2)];
    assert_eq!(*seen.lock().unwrap(), expected);
    subscription.stop().await;
    bus.close().await;
}
