//! Who we are: passwords, tokens, nkeys and credentials.

use jetbus::NatsOptions;
use jetbus::link::ConnectError;
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{opens, refused};
use jetbus_tests::target::TempFolder;
use nkeys::KeyPair;

use crate::renewal::{Operator, credentials};
use crate::secrets::hides;

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

pub(crate) async fn credential_files_open(env: Env) {
    let (operator, user, other) = (Operator::new(), KeyPair::new_user(), KeyPair::new_user());
    let server = server(&operator.configuration(&[]));
    let user_jwt = operator.user(&user);
    let folder = TempFolder::new("credentials").unwrap();
    let file = folder.path().join("user.creds");
    let write = |seed: &str| std::fs::write(&file, credentials(&user_jwt, seed)).unwrap();
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
