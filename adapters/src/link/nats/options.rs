//! Options of a connection, checked before anything is sent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{AuthError, ConnectOptions, ServerAddr};
use jetbus_core::subject::check_topic;

use crate::link::ConnectError;

mod credentials;

use credentials::{Credentials, user_key};

/// Messages that wait for the connection's task. The largest window of unacknowledged
/// publishes, and room for acknowledgements and pulls.
const COMMANDS: usize = 16_384 + 4_096;
/// Messages that wait in one subscription before the client drops.
const INBOX: usize = 65_536;
/// The longest interval or timeout.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The longest inbox prefix, in bytes.
const PREFIX: usize = 100;

/// How to reach nats-server, and as whom.
///
/// Reconnecting never ends; its delays grow to 4 s and are jittered.
/// [`Debug`](fmt::Debug) shows no secret.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    servers: Vec<Server>,
    name: Option<String>,
    login: Option<Login>,
    tls: Tls,
    pub(super) ping_interval: Duration,
    connect_timeout: Duration,
    pub(super) inbox_prefix: String,
    retry_first_connect: bool,
}

/// An address as given; it may hold a password.
#[derive(Clone)]
struct Server(String);

#[derive(Clone)]
enum Login {
    Password { user: String, password: String },
    Token(String),
    Nkey(String),
    Credentials(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Tls {
    required: bool,
    first: bool,
    ca: Vec<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// What the client is started with.
pub(super) struct Checked {
    pub(super) servers: Vec<ServerAddr>,
    pub(super) options: ConnectOptions,
    /// The servers without credentials, for messages.
    pub(super) shown: String,
}

impl NatsOptions {
    /// A connection to the server at `url`: `nats://host:port`, `tls://host:port`
    /// (TLS required) or `host:port`; the port is 4222 unless given. A user and
    /// password, or a token alone, may stand before the host (`user:password@`).
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            servers: vec![Server(url.into())],
            name: None,
            login: None,
            tls: Tls::default(),
            ping_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            inbox_prefix: "_INBOX".into(),
            retry_first_connect: false,
        }
    }

    /// One more server of the same cluster. They are tried in random order.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.servers.push(Server(url.into()));
        self
    }

    /// The name that the server shows for this connection; none by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Logs in with user and password, in place of any other login set before.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Login::Password {
            user: user.into(),
            password: password.into(),
        });
        self
    }

    /// Logs in with a token, in place of any other login set before.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.login = Some(Login::Token(token.into()));
        self
    }

    /// Logs in with an nkey: the seed of a user (`SU...`), in place of any other
    /// login set before.
    #[must_use]
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.login = Some(Login::Nkey(seed.into()));
        self
    }

    /// Logs in with a credentials file (JWT and seed), in place of any other login
    /// set before. It is read again for every connection, so it may be renewed
    /// in place.
    #[must_use]
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.login = Some(Login::Credentials(file.into()));
        self
    }

    /// Refuses to talk without TLS. The other TLS options imply it.
    #[must_use]
    pub const fn require_tls(mut self) -> Self {
        self.tls.required = true;
        self
    }

    /// Trusts the certificates in this PEM file, in place of the system's. May be
    /// called more than once.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.ca.push(file.into());
        self
    }

    /// Shows the server this certificate (PEM files).
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.client = Some((certificate.into(), key.into()));
        self
    }

    /// Starts TLS before the server says anything (`handshake_first` there).
    #[must_use]
    pub const fn tls_first(mut self) -> Self {
        self.tls.first = true;
        self
    }

    /// How often the server is pinged when it is silent; default 5 s. After two
    /// pings without an answer the connection counts as lost.
    #[must_use]
    pub const fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// How long one attempt to connect may take, handshakes included; default 5 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The first tokens of the subjects on which answers arrive; default `_INBOX`.
    /// The user needs the right to subscribe below it, and to publish to
    /// `<prefix>.readers.>`, where the readers of a group, who share the prefix, ask each
    /// other who is there, and to `<prefix>.*.*.end`, where a reader sees the end of what
    /// was on its way.
    #[must_use]
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = prefix.into();
        self
    }

    /// Whether the first connection is tried for ever, in the background, instead
    /// of failing when no server can be reached; off by default.
    #[must_use]
    pub const fn retry_first_connect(mut self, retry: bool) -> Self {
        self.retry_first_connect = retry;
        self
    }

    pub(super) fn check(&self) -> Result<Checked, ConnectError> {
        let mut login = self.login.clone();
        let mut servers = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let (address, its_login) = server.check()?;
            if let Some(its_login) = its_login {
                match &login {
                    None => login = Some(its_login),
                    Some(other) if other.same_as(&its_login) => {}
                    Some(_) => {
                        return refuse("server", &server.shown(), "there is one login only");
                    }
                }
            }
            servers.push(address);
        }
        check_prefix(&self.inbox_prefix)?;
        check_duration("ping_interval", self.ping_interval)?;
        check_duration("connect_timeout", self.connect_timeout)?;

        let mut options = match login {
            Some(login) => login.check()?,
            None => ConnectOptions::new(),
        };
        options = self.tls.apply(options)?;
        options = options
            .ping_interval(self.ping_interval)
            .connection_timeout(self.connect_timeout)
            .client_capacity(COMMANDS)
            .subscription_capacity(INBOX);
        if let Some(name) = &self.name {
            options = options.name(name);
        }
        if self.retry_first_connect {
            options = options.retry_on_initial_connect();
        }
        let shown: Vec<_> = self.servers.iter().map(Server::shown).collect();
        Ok(Checked {
            servers,
            options,
            shown: shown.join(", "),
        })
    }
}

impl Server {
    /// The address without the login in it, and that login. The client would
    /// ignore it, and write it to its log.
    fn check(&self) -> Result<(ServerAddr, Option<Login>), ConnectError> {
        let no = |rule: &str| refuse("server", &self.shown(), rule);
        let address: ServerAddr = match self.0.parse() {
            Ok(address) => address,
            Err(_) => return no("a server is nats://host:port, tls://host:port or host:port"),
        };
        if !matches!(address.scheme(), "nats" | "tls") {
            return no("the scheme is nats or tls");
        }
        if address.host().is_empty() {
            return no("there is a host");
        }
        let mut url = address.clone().into_inner();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return no("nothing follows the port");
        }
        let login = match (address.username(), address.password()) {
            (None, None) => None,
            (Some(token), None) => Some(Login::Token(decode(token))),
            (user, Some(password)) => Some(Login::Password {
                user: decode(user.unwrap_or_default()),
                password: decode(password),
            }),
        };
        let bare = url.set_username("").and_then(|()| url.set_password(None));
        match (bare, ServerAddr::from_url(url)) {
            (Ok(()), Ok(address)) => Ok((address, login)),
            _ => no("the host takes a login"),
        }
    }

    /// Without whatever stands before the host.
    fn shown(&self) -> String {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphabetic()) => {
                (scheme, rest)
            }
            _ => ("", self.0.as_str()),
        };
        let colon = if scheme.is_empty() { "" } else { "://" };
        match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}{colon}[redacted]@{host}"),
            None => self.0.clone(),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

impl Login {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => a == b,
            (
                Self::Password { user, password },
                Self::Password {
                    user: user2,
                    password: password2,
                },
            ) => user == user2 && password == password2,
            _ => false,
        }
    }

    fn check(self) -> Result<ConnectOptions, ConnectError> {
        match self {
            Self::Password { user, .. } if user.is_empty() => {
                refuse("user", &user, "it must not be empty")
            }
            Self::Password { user, password } => {
                Ok(ConnectOptions::with_user_and_password(user, password))
            }
            Self::Token(token) if token.is_empty() => refuse("token", "", "it must not be empty"),
            Self::Token(token) => Ok(ConnectOptions::with_token(token)),
            Self::Nkey(seed) => match user_key(&seed) {
                Ok(_) => Ok(ConnectOptions::with_nkey(seed)),
                Err(rule) => refuse("nkey", "[redacted]", rule),
            },
            Self::Credentials(file) => {
                if let Err(rule) = Credentials::read(&file) {
                    return refuse("credentials", &file.to_string_lossy(), &rule);
                }
                Ok(ConnectOptions::with_auth_callback(move |nonce| {
                    // A small local file, read once for every connection.
                    let login = Credentials::read(&file).and_then(|c| c.answer(&nonce));
                    let login =
                        login.map_err(|why| AuthError::new(format!("{}: {why}", file.display())));
                    async move { login }
                }))
            }
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, [redacted])"),
            Self::Token(_) => f.write_str("Token([redacted])"),
            Self::Nkey(_) => f.write_str("Nkey([redacted])"),
            Self::Credentials(file) => write!(f, "Credentials({file:?})"),
        }
    }
}

impl Tls {
    fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, ConnectError> {
        for file in &self.ca {
            check_certificates("ca_file", file)?;
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client {
            check_certificates("client_certificate", certificate)?;
            if let Err(why) = PrivateKeyDer::from_pem_file(key) {
                let rule = format!("the file of its key holds a private key in PEM ({why})");
                return refuse("client_certificate", &key.to_string_lossy(), &rule);
            }
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.first {
            options = options.tls_first();
        }
        let required = self.required || self.first || !self.ca.is_empty() || self.client.is_some();
        Ok(options.require_tls(required))
    }
}

fn check_prefix(prefix: &str) -> Result<(), ConnectError> {
    let option = "inbox_prefix";
    if prefix.len() > PREFIX {
        return refuse(option, prefix, "it has at most 100 bytes");
    }
    if prefix.starts_with('$') {
        return refuse(
            option,
            prefix,
            "subjects that start with `$` are the server's",
        );
    }
    // Between two tokens of an ordinary subject, for the rules about tokens.
    match check_topic(&format!("x.{prefix}.x")) {
        Ok(()) => Ok(()),
        Err(error) => refuse(option, prefix, error.rule()),
    }
}

fn check_duration(option: &'static str, duration: Duration) -> Result<(), ConnectError> {
    if duration < Duration::from_millis(1) || duration > LONGEST {
        return refuse(
            option,
            &format!("{duration:?}"),
            "it is at least 1 ms and at most 1 h",
        );
    }
    Ok(())
}

fn check_certificates(option: &'static str, file: &Path) -> Result<(), ConnectError> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| why.to_string());
    let rule = match certificates {
        Ok(some) if !some.is_empty() => return Ok(()),
        Ok(_) => "the file holds a certificate in PEM".to_owned(),
        Err(why) => format!("the file holds certificates in PEM ({why})"),
    };
    refuse(option, &file.to_string_lossy(), &rule)
}

fn refuse<T>(option: &'static str, value: &str, rule: &str) -> Result<T, ConnectError> {
    Err(ConnectError::Option {
        option,
        value: value.chars().take(256).collect(),
        rule: rule.to_owned(),
    })
}

/// Undoes the percent-encoding of a URL.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let encoded = after.get(..2).filter(|_| byte == b'%');
        let decoded = encoded
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
