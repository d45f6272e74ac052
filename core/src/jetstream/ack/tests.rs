use proptest::prelude::*;

use super::*;
use crate::{Headers, Status};

fn parse(reply: &str) -> Option<Meta> {
    Meta::parse(&Subject::from(reply))
}

#[test]
fn both_forms_of_the_reply_subject_read_alike() {
    let short = parse("$JS.ACK.orders.billing.2.17.40.1600000000000000123.5").unwrap();
    assert_eq!(
        (short.delivered, short.stream_seq, short.consumer_seq),
        (2, 17, 40)
    );
    assert_eq!(short.timestamp.as_unix_nanos(), 1_600_000_000_000_000_123);
    assert_eq!(short.pending, 5);
    for long in [
        "$JS.ACK._.h4sh.orders.billing.2.17.40.1600000000000000123.5",
        "$JS.ACK.hub.h4sh.orders.billing.2.17.40.1600000000000000123.5.r4nd",
        "$JS.ACK.hub.h4sh.orders.billing.2.17.40.1600000000000000123.5.r4nd.and.more",
    ] {
        assert_eq!(parse(long).as_ref(), Some(&short), "{long}");
        assert_eq!(names(&long.into()), Some(("orders", "billing")), "{long}");
    }
}

#[test]
fn a_reply_subject_is_written_in_the_form_of_another() {
    for like in [
        "$JS.ACK.JS.ACK.2.17.40.1600000000000000123.5",
        "$JS.ACK.hub.h4sh.JS.ACK.2.17.40.1600000000000000123.5",
        "$JS.ACK.hub.h4sh.JS.ACK.2.17.40.1600000000000000123.5.r4nd.and.more",
    ] {
        let like = Subject::from(like);
        let mut meta = Meta::parse(&like).unwrap();
        let written = |meta: &Meta, like| meta.reply_subject("JS", "ACK", like);
        assert_eq!(written(&meta, Some(&like)), like);
        (meta.delivered, meta.stream_seq, meta.consumer_seq) = (1, 18, 41);
        assert_eq!(
            written(&meta, Some(&like)).as_str(),
            like.as_str().replace("2.17.40", "1.18.41")
        );
        let short = written(&meta, None);
        assert_eq!(short, "$JS.ACK.JS.ACK.1.18.41.1600000000000000123.5");
        assert_eq!(Meta::parse(&short), Some(meta));
    }
}

#[test]
fn other_subjects_are_no_deliveries() {
    for reply in [
        "",
        "_INBOX.a.b",
        "$JS.ACK",
        "$JS.ACK.",
        "$JS.ACK.s.c.1.2.3.4",
        "$JS.ACK.d.s.c.1.2.3.4.5",
        "$JS.ACK..c.1.2.3.4.5",
        "$JS.ACK.s..1.2.3.4.5",
        "$JS.ACK.s.c.1.2.3.4.",
        "$JS.ACK.s.c.1.2.3.4.x",
        "$JS.ACK.s.c.+1.2.3.4.5",
        "$JS.ACK.s.c.1.-2.3.4.5",
        "$JS.ACK.s.c.1.99999999999999999999.3.4.5",
        "$JS.ACK.s.c.1.2.3.18446744073709551615.5",
        "x$JS.ACK.s.c.1.2.3.4.5",
    ] {
        assert_eq!(parse(reply), None, "{reply:?}");
    }
}

#[test]
fn verbs_are_the_servers_bytes() {
    assert_eq!(ack(), "+ACK");
    assert_eq!(progress(), "+WPI");
    assert_eq!(nak(None), "-NAK");
    assert_eq!(nak(Some(Duration::ZERO)), "-NAK");
    assert_eq!(
        nak(Some(Duration::from_millis(1500))),
        "-NAK {\"delay\": 1500000000}"
    );
    assert_eq!(
        nak(Some(Duration::MAX)),
        "-NAK {\"delay\": 9223372036854775807}"
    );
    assert_eq!(term(None), "+TERM");
    assert_eq!(term(Some(" \r\n ")), "+TERM");
    assert_eq!(term(Some("no such\r\norder")), "+TERM no such  order");
}

#[test]
fn a_reason_is_cut_between_characters() {
    let payload = term(Some(&"é".repeat(MAX_REASON)));
    let text = std::str::from_utf8(&payload).unwrap();
    assert_eq!(text.len(), "+TERM ".len() + MAX_REASON);
    let payload = term(Some(&format!("x{}", "é".repeat(MAX_REASON))));
    let text = std::str::from_utf8(&payload).unwrap();
    assert_eq!(text.len(), "+TERM ".len() + MAX_REASON - 1);
}

#[test]
fn only_an_empty_answer_without_status_confirms() {
    let mut answer = Message {
        subject: Subject::from_static("_INBOX.x"),
        reply: None,
        headers: Headers::new(),
        status: None,
        payload: Bytes::new(),
    };
    assert_eq!(confirmed(&answer), Ok(()));
    answer.payload = Bytes::from_static(b"-ERR");
    assert_eq!(confirmed(&answer), Err(NotConfirmed::Answer { len: 4 }));
    answer.payload = Bytes::new();
    for code in [100, 200, 404, 503] {
        answer.status = Some(Status {
            code,
            description: "".into(),
        });
        assert!(matches!(
            confirmed(&answer),
            Err(NotConfirmed::Status { code: c, .. }) if c == code
        ));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(tail in ".{0,80}", tokens in prop::collection::vec("[0-9a-z.é]{0,6}", 0..14)) {
        parse(&tail);
        parse(&format!("$JS.ACK.{tail}"));
        parse(&format!("$JS.ACK.{}", tokens.join(".")));
    }

    #[test]
    fn what_the_server_writes_is_read(d in any::<u64>(), s in any::<u64>(), c in any::<u64>(), t in 0..i64::MAX, p in any::<u64>()) {
        let meta = parse(&format!("$JS.ACK.st.co.{d}.{s}.{c}.{t}.{p}")).unwrap();
        prop_assert_eq!((meta.delivered, meta.stream_seq, meta.consumer_seq, meta.timestamp.as_unix_nanos(), meta.pending), (d, s, c, t, p));
    }

    #[test]
    fn no_reason_breaks_the_line_or_the_limit(reason in any::<String>()) {
        let payload = term(Some(&reason));
        prop_assert!(payload.len() <= 6 + MAX_REASON);
        prop_assert!(std::str::from_utf8(&payload).unwrap().chars().all(|c| !c.is_control()));
    }
}
