//! What an account has in all: asked of a server that nobody else uses.

use jetbus_tests::server::{DEFAULT_VERSION, Server};
use serde_json::{Value, json};

use super::compare;
use super::script::error;

#[test]
fn all_streams_are_listed_page_by_page() {
    let server = Server::builder().version(DEFAULT_VERSION).start().unwrap();
    let difference = compare("listed", &server, |s| {
        s.api("STREAM.NAMES", Value::Null);
        s.api("STREAM.LIST", Value::Null);
        s.api("INFO", Value::Null);
        for name in ["listed_b", "listed_a", "listed_c"] {
            let config = json!({"name": name, "subjects": [format!("{name}.*")]});
            s.api(&format!("STREAM.CREATE.{name}"), config);
        }
        s.api("STREAM.NAMES", Value::Null);
        s.api("STREAM.NAMES", json!({"offset": 2}));
        s.api("STREAM.NAMES", json!({"offset": 7}));
        s.api("STREAM.NAMES", json!({"offset": -1}));
        s.api("STREAM.NAMES", json!({"subject": "listed_a.x"}));
        s.api("STREAM.NAMES", json!({"subject": "*.x"}));
        s.api("STREAM.LIST", json!({"offset": 1}));
        s.api("INFO", Value::Null);
        // A stream that takes everything takes nothing of the server's own.
        let greedy = json!({"name": "listed_d", "subjects": [">"], "no_ack": true});
        assert_ne!(error(&s.api("STREAM.CREATE.listed_d", greedy)), 0);
        for name in ["listed_a", "listed_b", "listed_c"] {
            s.api(&format!("STREAM.DELETE.{name}"), Value::Null);
        }
        s.api("STREAM.NAMES", Value::Null);
    });
    if let Some(difference) = difference {
        panic!("{difference}");
    }
}
