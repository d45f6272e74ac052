//! Logins that change while the bus is open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jetbus::NatsOptions;
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{Included, builder, refused, works};
use jetbus_tests::target::TempFolder;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// The keys of a company: who signs whom.
pub(crate) struct Operator {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    /// Lines for a server that lets in the users of the account but `revoked`.
    pub(crate) fn configuration(&self, revoked: &[&KeyPair]) -> String {
        let limits = |n: i64| {
            json!({"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
                   "payload": -1, "wildcards": true, "mem_storage": n, "disk_storage": n,
                   "streams": n, "consumer": n})
        };
        let account_jwt = |key: &KeyPair, name, n, revocations: &Value| {
            let nats = json!({
                "type": "account", "version": 2, "limits": limits(n), "revocations": revocations,
            });
            jwt(&self.operator, key, name, nats)
        };
        let revocations: serde_json::Map<_, _> = revoked
            .iter()
            .map(|user| (user.public_key(), json!(ISSUED + 1)))
            .collect();
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{ {}: {}\n {}: {} }}",
            jwt(
                &self.operator,
                &self.operator,
                "O",
                json!({"type": "operator", "version": 2})
            ),
            self.system.public_key(),
            self.system.public_key(),
            account_jwt(&self.system, "SYS", 0, &json!({})),
            self.account.public_key(),
            account_jwt(&self.account, "A", -1, &revocations.into()),
        )
    }

    /// The JWT of a user.
    pub(crate) fn user(&self, user: &KeyPair) -> String {
        let nats = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": {}, "sub": {},
        });
        jwt(&self.account, user, "U", nats)
    }
}

/// When all of them are issued.
const ISSUED: u64 = 1_795_000_000;

/// A JWT as nsc writes it, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = encode(json!({
        "jti": name, "iat": ISSUED, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": nats,
    }));
    let text = format!("{head}.{claims}");
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A file of credentials as nsc writes it.
pub(crate) fn credentials(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

pub(crate) async fn credentials_are_read_again_for_every_connection(env: Env) {
    let (operator, old, new) = (Operator::new(), KeyPair::new_user(), KeyPair::new_user());
    let lines = Included::new("operator");
    lines.write(&operator.configuration(&[]));
    let server = Server::builder().config(&lines.line()).start().unwrap();
    let folder = TempFolder::new("credentials").unwrap();
    let file = folder.path().join("user.creds");
    let write = |user: &KeyPair| {
        let text = credentials(&operator.user(user), &user.seed().unwrap());
        std::fs::write(&file, text).unwrap();
    };
    write(&old);
    let options = NatsOptions::new(server.url()).credentials(&file);
    let bus = builder(&env, &options).open().await.unwrap();
    works(&env, &bus).await;
    // The old user is revoked, and the bus is told by nothing but the file.
    server.terminate().unwrap();
    lines.write(&operator.configuration(&[&old]));
    write(&new);
    server.start_again().unwrap();
    works(&env, &bus).await;
    bus.close().await;
    // The old one is not let in, indeed.
    write(&old);
    let error = refused(&env, &options).await;
    let is_refused = matches!(error, jetbus::link::ConnectError::Authorization { .. });
    assert!(is_refused, "{error:?}");
}
