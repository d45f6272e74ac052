//! Whom we trust, and who trusts us.

use std::path::PathBuf;

use jetbus::NatsOptions;
use jetbus::link::ConnectError;
use jetbus_tests::Server;
use jetbus_tests::matrix::Env;
use jetbus_tests::opening::{opens, refused};
use jetbus_tests::target::TempFolder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority of the test's own, and two certificates of it.
struct Certificates {
    folder: TempFolder,
}

impl Certificates {
    fn new() -> Self {
        Self::until(2100)
    }

    /// Whose certificates of servers and clients are good until a year.
    fn until(year: i32) -> Self {
        let this = Self {
            folder: TempFolder::new("certificates").unwrap(),
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        this.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            this.write(&format!("{name}.pem"), &certificate.pem());
            this.write(&format!("{name}.key"), &key.serialize_pem());
        }
        this
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, more: &str) -> Server {
        let lines = format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}\n{more} }}",
            self.path("server.pem"),
            self.path("server.key"),
            self.path("ca.pem"),
        );
        Server::builder().config(&lines).start().expect("a server")
    }
}

pub(crate) async fn certificates_of_both_sides_are_checked(env: Env) {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let server = ours.server("verify: true");
    let (url, address) = (server.url(), server.address());
    let trusted = NatsOptions::new(&url).ca_file(ours.path("ca.pem"));
    let shown = |options: NatsOptions, by: &Certificates| {
        options.client_certificate(by.path("client.pem"), by.path("client.key"))
    };
    opens(&env, &shown(trusted.clone(), &ours)).await;
    let by_name = NatsOptions::new(format!("tls://{address}")).ca_file(ours.path("ca.pem"));
    opens(&env, &shown(by_name, &ours)).await;
    for wrong in [
        // Their authority is not ours, ours is not theirs, nobody is shown, and
        // what the system trusts knows none of them.
        shown(NatsOptions::new(&url).ca_file(others.path("ca.pem")), &ours),
        shown(trusted.clone(), &others),
        trusted.clone(),
        NatsOptions::new(&url).require_tls(),
    ] {
        let error = refused(&env, &wrong).await;
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    }
    // Files that are none are refused before anything is sent.
    for wrong in [
        NatsOptions::new(&url).ca_file(ours.path("none")),
        NatsOptions::new(&url).ca_file(ours.path("server.key")),
        trusted
            .clone()
            .client_certificate(ours.path("client.pem"), ours.path("ca.pem")),
        trusted.client_certificate(ours.path("client.key"), ours.path("client.key")),
    ] {
        let error = refused(&env, &wrong).await;
        assert!(matches!(error, ConnectError::Option { .. }), "{error:?}");
        assert!(
            error.to_string().contains(".key")
                || error.to_string().contains("none")
                || error.to_string().contains(".pem"),
            "{error}"
        );
    }
}

pub(crate) async fn certificates_that_are_over_are_not_trusted(env: Env) {
    let ours = Certificates::until(2020);
    let server = ours.server("");
    let options = NatsOptions::new(server.url()).ca_file(ours.path("ca.pem"));
    let error = refused(&env, &options).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("xpired"), "{error}");
}

pub(crate) async fn tls_comes_first_when_told(env: Env) {
    let ours = Certificates::new();
    let server = ours.server("handshake_first: true");
    let trusted = NatsOptions::new(server.url()).ca_file(ours.path("ca.pem"));
    opens(&env, &trusted.tls_first()).await;
    // A server without TLS is not talked to by who wants it.
    let plain = Server::start().expect("a server");
    let error = refused(&env, &NatsOptions::new(plain.url()).require_tls()).await;
    assert!(
        matches!(
            error,
            ConnectError::Tls { .. } | ConnectError::Unreachable { .. }
        ),
        "{error:?}"
    );
}
