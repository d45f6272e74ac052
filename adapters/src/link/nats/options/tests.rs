use nkeys::KeyPair;

use super::*;

const SEED: &str = "SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM";

fn refused(options: &NatsOptions) -> (&'static str, String, String) {
    match options.check() {
        Err(ConnectError::Option {
            option,
            value,
            rule,
        }) => (option, value, rule),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{options:?} was taken"),
    }
}

#[test]
fn usual_options_are_taken() {
    for url in [
        "localhost",
        "127.0.0.1:4222",
        "nats://[::1]:4222",
        "tls://a.example/",
        "nats://user:pass@host",
        "nats://token@host",
    ] {
        let options = NatsOptions::new(url).server("nats://other").name("x");
        assert!(options.check().is_ok(), "{url}");
    }
}

#[test]
fn bad_servers_are_refused_by_name() {
    for url in [
        "",
        "nats://",
        "http://a",
        "ws://a",
        "nats://a:99999",
        "nats://a b",
        "nats://a/x",
        "nats://a?x=1",
    ] {
        let (option, value, rule) = refused(&NatsOptions::new(url));
        assert_eq!((option, value.as_str()), ("server", url));
        assert!(!rule.is_empty());
    }
}

#[test]
fn bad_values_are_refused_by_name() {
    let new = || NatsOptions::new("localhost");
    let hour = Duration::from_secs(3_601);
    for (options, name) in [
        (new().ping_interval(Duration::ZERO), "ping_interval"),
        (new().ping_interval(Duration::MAX), "ping_interval"),
        (new().connect_timeout(Duration::ZERO), "connect_timeout"),
        (new().connect_timeout(hour), "connect_timeout"),
        (new().inbox_prefix(""), "inbox_prefix"),
        (new().inbox_prefix("a.*"), "inbox_prefix"),
        (new().inbox_prefix("a b"), "inbox_prefix"),
        (new().inbox_prefix("a..b"), "inbox_prefix"),
        (new().inbox_prefix(".a"), "inbox_prefix"),
        (new().inbox_prefix("$SYS"), "inbox_prefix"),
        (new().inbox_prefix("x".repeat(101)), "inbox_prefix"),
        (new().user("", "p"), "user"),
        (new().token(""), "token"),
        (new().nkey("SUANOT"), "nkey"),
        (new().credentials("/no/such/file"), "credentials"),
        (new().credentials("Cargo.toml"), "credentials"),
        (new().ca_file("/no/such/file"), "ca_file"),
        (new().ca_file("Cargo.toml"), "ca_file"),
        (
            new().client_certificate("/no/such", "/no/such"),
            "client_certificate",
        ),
        (new().user("u", "p").server("nats://v:q@b"), "server"),
    ] {
        assert_eq!(refused(&options).0, name, "{options:?}");
    }
    assert!(new().inbox_prefix("_INBOX.mine").check().is_ok());
}

#[test]
fn secrets_do_not_show() {
    let secret = "hush";
    for options in [
        NatsOptions::new("nats://u:hush@host"),
        NatsOptions::new("nats://hush@host"),
        NatsOptions::new("u:hush@host"),
        NatsOptions::new("nats://u:hu@hush@host:99999"),
        NatsOptions::new("ht tp://u:hush/x@host"),
        NatsOptions::new("u:hush://x@host"),
        NatsOptions::new("a").user("u", secret),
        NatsOptions::new("a").token(secret),
        NatsOptions::new("a").nkey(secret),
    ] {
        let shown = format!("{options:?}");
        assert!(!shown.contains(secret), "{shown}");
        let outcome = match options.check() {
            Ok(checked) => checked.shown,
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!outcome.contains(secret), "{outcome}");
    }
}

#[test]
fn a_login_in_the_address_is_decoded_and_taken_out() {
    let server = Server("nats://us%65r:p%40ss@host:1".into());
    let (address, login) = server.check().unwrap();
    assert_eq!(address.as_url_str(), "nats://host:1");
    assert!(matches!(
        login,
        Some(Login::Password { user, password }) if user == "user" && password == "p@ss"
    ));
    let twice = NatsOptions::new("nats://u:p@a").server("nats://u:p@b");
    assert!(twice.check().is_ok());
}

#[test]
fn only_users_seeds_are_taken() {
    assert!(NatsOptions::new("a").nkey(SEED).check().is_ok());
    let account = KeyPair::new_account().seed().unwrap();
    let (option, value, rule) = refused(&NatsOptions::new("a").nkey(account));
    assert_eq!((option, value.as_str()), ("nkey", "[redacted]"));
    assert!(rule.contains("user"));
}

#[test]
fn credentials_files_are_read() {
    let file = std::env::temp_dir().join(format!("jetbus-{}.creds", std::process::id()));
    let text = format!(
        "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n\
         *** IMPORTANT ***\nkeep it\n\n\
         -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&file, text).unwrap();
    let credentials = Credentials::read(&file).unwrap();
    assert_eq!(credentials.jwt, "a.b.c");
    let login = credentials.answer(b"nonce").unwrap();
    let key = KeyPair::from_seed(SEED).unwrap();
    key.verify(b"nonce", &login.signature.unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(Credentials::read(&file).is_err());
}
