//! Who we are: passwords, tokens, nkeys, credentials, and what they allow.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_lite::StreamExt as _;
use jetbus::link::ConnectError;
use jetbus::{NatsOptions, News, PublishError};
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::target::TempFolder;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::{builder, event, hides, opens, refused, works};

fn server(lines: &str) -> Server {
    Server::builder().config(lines).start().expect("a server")
}

pub(crate) async fn passwords_and_tokens_open(env: Env) {
    let users = "authorization { users = [ {user: ann, password: s3cr3t} ] }";
    let server_ = server(users);
    let (url, address) = (server_.url(), server_.address());
    opens(&env, &NatsOptions::new(&url).user("ann", "s3cr3t")).await;
    opens(
        &env,
        &NatsOptions::new(format!("nats://ann:s3cr3t@{address}")),
    )
    .await;
    for wrong in [
        NatsOptions::new(&url).user("ann", "hunter2"),
        NatsOptions::new(&url).user("bob", "s3cr3t"),
        NatsOptions::new(&url).token("hunter2"),
        NatsOptions::new(format!("nats://ann:hunter2@{address}")),
        NatsOptions::new(&url),
    ] {
        let error = refused(&env, &wrong).await;
        assert!(
            matches!(error, ConnectError::Authorization { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(&address), "{error}");
        hides("hunter2", &wrong, &error);
        hides("s3cr3t", &wrong, &error);
    }

    let server = server("authorization { token: \"t0k3n\" }");
    let (url, address) = (server.url(), server.address());
    opens(&env, &NatsOptions::new(&url).token("t0k3n")).await;
    opens(&env, &NatsOptions::new(format!("nats://t0k3n@{address}"))).await;
    let wrong = NatsOptions::new(&url).token("hunter2");
    let error = refused(&env, &wrong).await;
    assert!(
        matches!(error, ConnectError::Authorization { .. }),
        "{error:?}"
    );
    hides("hunter2", &wrong, &error);
}

pub(crate) async fn nkeys_open(env: Env) {
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let server = server(&format!(
        "authorization {{ users = [ {{ nkey: {} }} ] }}",
        ours.public_key()
    ));
    let with = |key: &KeyPair| NatsOptions::new(server.url()).nkey(key.seed().unwrap());
    opens(&env, &with(&ours)).await;
    let error = refused(&env, &with(&other)).await;
    assert!(
        matches!(error, ConnectError::Authorization { .. }),
        "{error:?}"
    );
    hides(&other.seed().unwrap(), &with(&other), &error);
    // Not a seed, or not a user's: refused before anything is sent.
    let account = KeyPair::new_account().seed().unwrap();
    for seed in ["", "SUAnonsense", &account] {
        let options = NatsOptions::new(server.url()).nkey(seed);
        let error = refused(&env, &options).await;
        assert!(
            matches!(error, ConnectError::Option { option: "nkey", .. }),
            "{error:?}"
        );
        if !seed.is_empty() {
            hides(seed, &options, &error);
        }
    }
}

/// A JWT as nsc writes it, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = encode(json!({
        "jti": name, "iat": 1_795_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": nats,
    }));
    let text = format!("{head}.{claims}");
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) async fn credential_files_open(env: Env) {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (account, user, other) = (
        KeyPair::new_account(),
        KeyPair::new_user(),
        KeyPair::new_user(),
    );
    let limits = |n: i64| {
        json!({"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1,
               "payload": -1, "wildcards": true, "mem_storage": n, "disk_storage": n,
               "streams": n, "consumer": n})
    };
    let account_jwt = |key: &KeyPair, name, n| {
        let nats = json!({"type": "account", "version": 2, "limits": limits(n)});
        jwt(&operator, key, name, nats)
    };
    let server = server(&format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\n\
         resolver_preload: {{ {}: {}\n {}: {} }}",
        jwt(
            &operator,
            &operator,
            "O",
            json!({"type": "operator", "version": 2})
        ),
        system.public_key(),
        system.public_key(),
        account_jwt(&system, "SYS", 0),
        account.public_key(),
        account_jwt(&account, "A", -1),
    ));
    let user_jwt = jwt(
        &account,
        &user,
        "U",
        json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": {}, "sub": {},
        }),
    );
    let folder = TempFolder::new("credentials").unwrap();
    let file = folder.path().join("user.creds");
    let write = |seed: &str| {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    let options = NatsOptions::new(server.url()).credentials(&file);
    write(&user.seed().unwrap());
    opens(&env, &options).await;
    // Somebody else's seed does not fit the JWT.
    write(&other.seed().unwrap());
    let error = refused(&env, &options).await;
    assert!(
        matches!(error, ConnectError::Authorization { .. }),
        "{error:?}"
    );
    for secret in [&other.seed().unwrap(), &user_jwt] {
        hides(secret, &options, &error);
    }
    let missing = NatsOptions::new(server.url()).credentials(folder.path().join("none"));
    let error = refused(&env, &missing).await;
    assert!(
        matches!(
            error,
            ConnectError::Option {
                option: "credentials",
                ..
            }
        ),
        "{error:?}"
    );
}

pub(crate) async fn a_forbidden_subject_is_told(env: Env) {
    let server = server(
        "authorization { users = [ {user: ann, password: pw, permissions: {
             publish: { allow: [\"orders.>\", \"$JS.API.>\"], deny: [\"orders.secret\"] },
             subscribe: \"_INBOX.>\" } } ] }",
    );
    let options = NatsOptions::new(server.url()).user("ann", "pw");
    let builder = builder(&env, &options).publish_timeout(Duration::from_secs(2));
    let bus = builder.open().await.unwrap();
    works(&env, &bus).await;
    let mut news = bus.news();
    // The server drops it and says so to nobody in particular: the publish is not
    // answered, and the complaint is news.
    let error = env
        .soon("an end", bus.publish("orders.secret", &event()))
        .await;
    assert!(
        matches!(error, Err(PublishError::Unknown { .. })),
        "{error:?}"
    );
    let told = env.soon("the complaint", async {
        loop {
            if let News::LinkError { reason } = news.next().await.expect("the bus is open") {
                return reason;
            }
        }
    });
    let told = told.await;
    assert!(
        told.contains("ermissions") && told.contains("orders.secret"),
        "{told}"
    );
    works(&env, &bus).await;
    bus.close().await;
}
