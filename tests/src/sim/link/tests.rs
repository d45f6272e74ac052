use jetbus_core::Headers;

use super::double::Double;
use super::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

struct Net {
    sim: Sim,
    double: Arc<Double>,
    link: Arc<FaultyLink>,
    sights: Arc<Mutex<Vec<String>>>,
}

fn net(seed: u64) -> Net {
    let sim = Sim::new(seed);
    let double = Arc::new(Double::default());
    let sights = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sights);
    let watcher: Watcher = Arc::new(move |sight| {
        let word = match sight {
            Sight::Handed(message) => format!("handed {}", number(message.payload)),
            Sight::Arrived(message) => format!("arrived {}", number(&message.payload)),
            Sight::Refused(message) => format!("refused {}", number(message.payload)),
            Sight::Lost(message) => format!("lost {}", number(&message.payload)),
            Sight::Down => "down".into(),
            Sight::Up => "up".into(),
        };
        seen.lock().unwrap().push(word);
    });
    let inner: Arc<dyn Link> = Arc::<Double>::clone(&double);
    let link = Arc::new(FaultyLink::new(inner, &sim, seed, watcher));
    Net {
        sim,
        double,
        link,
        sights,
    }
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

impl Net {
    fn publish(&self, number: u64) -> Result<(), Refused> {
        self.link.try_publish(Publish {
            subject: &Subject::from("a"),
            reply: None,
            headers: &Headers::new(),
            payload: &number.to_string().into(),
        })
    }

    async fn inbox(&self) -> Box<dyn Inbox> {
        self.link.subscribe(Subject::from("a"), None).await.unwrap()
    }

    fn sights(&self, kind: &str) -> usize {
        let sights = self.sights.lock().unwrap();
        sights
            .iter()
            .filter(|sight| sight.starts_with(kind))
            .count()
    }
}

/// What is in the inbox now.
fn read(inbox: &mut Box<dyn Inbox>) -> Vec<u64> {
    let mut cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match inbox.poll_next(&mut cx) {
        Poll::Ready(Some(message)) => Some(number(&message.payload)),
        _ => None,
    })
    .collect()
}

async fn news(link: &FaultyLink) -> Option<String> {
    poll_fn(|cx| link.poll_event(cx))
        .await
        .map(|event| match event {
            LinkEvent::Connected(_) => "connected".into(),
            other => format!("{other:?}"),
        })
}

fn is_ordered(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] <= pair[1])
}

#[test]
fn a_calm_link_changes_nothing() {
    let net = net(1);
    net.sim
        .block_on(async {
            let mut inbox = net.inbox().await;
            for n in 0..100 {
                net.publish(n).unwrap();
            }
            assert_eq!(read(&mut inbox), (0..100).collect::<Vec<_>>());
            net.link.close().await;
            assert_eq!(net.publish(1), Err(Refused::Closed));
            assert!(poll_fn(|cx| inbox.poll_next(cx)).await.is_none());
            assert_eq!(news(&net.link).await.as_deref(), Some("connected"));
            assert_eq!(news(&net.link).await, None);
            net.sim.sleep(millis(1)).await;
        })
        .unwrap();
    assert_eq!(net.sim.tasks(), 0);
}

#[test]
fn losses_and_copies_are_about_as_many_as_asked_for() {
    for (lose_out, lose_in, duplicate) in [(300, 0, 0), (0, 300, 0), (0, 0, 300)] {
        let net = net(2);
        net.link.set_faults(Faults {
            lose_out,
            lose_in,
            duplicate,
            ..Faults::CALM
        });
        let got = net.sim.block_on(async {
            let mut inbox = net.inbox().await;
            for n in 0..1_000 {
                net.publish(n).unwrap();
                net.sim.sleep(millis(1)).await;
            }
            net.sim.sleep(millis(10)).await;
            read(&mut inbox)
        });
        let got = got.unwrap();
        let expected = if duplicate > 0 {
            1_500..1_900
        } else {
            600..800
        };
        assert!(expected.contains(&got.len()), "{} arrived", got.len());
        assert!(is_ordered(&got));
        assert_eq!(net.sights("handed"), 1_000);
        assert_eq!(net.sights("arrived"), got.len());
        assert_eq!(net.sights("lost") > 0, lose_in > 0);
    }
}

#[test]
fn late_messages_overtake_none_of_their_subscription_but_others() {
    let net = net(3);
    net.link.set_faults(Faults {
        delay: 500,
        late: millis(50),
        ..Faults::CALM
    });
    net.sim
        .block_on(async {
            let mut inboxes = [net.inbox().await, net.inbox().await];
            let mut got = [Vec::new(), Vec::new()];
            let mut apart = false;
            for n in 0..200 {
                net.publish(n).unwrap();
                net.sim.sleep(millis(5)).await;
                for (inbox, got) in inboxes.iter_mut().zip(&mut got) {
                    got.extend(read(inbox));
                }
                apart |= got[0].len() > got[1].len();
            }
            net.sim.sleep(millis(200)).await;
            for (inbox, mut got) in inboxes.iter_mut().zip(got) {
                got.extend(read(inbox));
                net.sim.sleep(millis(200)).await;
                got.extend(read(inbox));
                assert_eq!(got, (0..200).collect::<Vec<_>>());
            }
            assert!(apart);
        })
        .unwrap();
}

#[test]
fn a_break_refuses_loses_some_and_keeps_subscriptions() {
    let net = net(4);
    net.link.set_faults(Faults {
        delay: 1_000,
        late: millis(100),
        cut: 500,
        ..Faults::CALM
    });
    net.sim
        .block_on(async {
            let mut inbox = net.inbox().await;
            assert_eq!(net.double.listeners(), 1);
            for n in 0..100 {
                net.publish(n).unwrap();
            }
            net.link.disconnect();
            assert_eq!(net.double.listeners(), 0);
            assert_eq!(net.publish(100), Err(Refused::Disconnected));
            assert!(net.link.flush().await.is_err());
            // Made while it is down, and known to the server afterwards.
            let mut second = net.inbox().await;
            net.link.reconnect().await;
            assert_eq!(net.double.listeners(), 2);
            for event in ["connected", "Disconnected", "connected"] {
                assert_eq!(news(&net.link).await.as_deref(), Some(event));
            }
            net.link.set_faults(Faults::CALM);
            net.sim.sleep(millis(200)).await;
            net.publish(101).unwrap();
            net.link.flush().await.unwrap();
            let (first, second) = (read(&mut inbox), read(&mut second));
            assert!((20..80).contains(&first.len()), "{first:?}");
            assert!(is_ordered(&first) && first.ends_with(&[101]));
            assert_eq!(first, second);
            assert_eq!((net.sights("down"), net.sights("up")), (1, 1));
        })
        .unwrap();
}

#[test]
fn a_busy_link_takes_the_message_after_a_while() {
    let net = net(5);
    net.link.set_faults(Faults {
        busy: 500,
        ..Faults::CALM
    });
    let refusals = net.sim.block_on(async {
        let mut inbox = net.inbox().await;
        let mut refusals = 0;
        for n in 0..100 {
            while net.publish(n) == Err(Refused::Busy) {
                refusals += 1;
                net.link.ready().await;
            }
        }
        assert_eq!(read(&mut inbox).len(), 100);
        assert_eq!(net.sights("refused"), refusals);
        assert_eq!(net.sights("handed"), 100 + refusals);
        refusals
    });
    assert!((50..200).contains(&refusals.unwrap()));
}

#[test]
fn flickering_ends_connected_and_dropping_closes() {
    let net = net(6);
    let Net {
        sim,
        link,
        double,
        sights,
    } = net;
    sim.block_on(async {
        let end = sim.now() + Duration::from_secs(10);
        link.flicker(end, millis(800), millis(300)).await;
    })
    .unwrap();
    let breaks = sights
        .lock()
        .unwrap()
        .iter()
        .filter(|sight| *sight == "down")
        .count();
    assert!((10..40).contains(&breaks), "{breaks} breaks");
    assert!(link.0.with(|state| state.up));
    drop(link);
    sim.block_on(sim.sleep(millis(5))).unwrap();
    assert_eq!(sim.tasks(), 0);
    assert!(double.0.lock().unwrap().closed);
}
