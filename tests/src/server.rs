//! Real nats-servers, started and stopped by tests.
//!
//! A server listens on a free port of the loopback interface, keeps its state in
//! a folder of its own under `target/tmp`, and is gone when its handle is dropped,
//! or when the test program dies. When a test fails, its log is printed.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Doing as _, Failure};
use crate::target::TempFolder;

mod binary;
mod builder;
mod cluster;
mod ports;
mod process;
mod shared;

pub use binary::{ATOMIC_VERSION, DEFAULT_VERSION, OLDEST_VERSION, ServerBinary};
pub use builder::Builder;
pub use cluster::Cluster;
use process::Process;
pub use shared::Shared;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that the harness waits for.
fn pause() {
    thread::sleep(Duration::from_millis(2));
}

/// A running nats-server of one test.
pub struct Server {
    running: Mutex<Running>,
    settings: Builder,
    binary: ServerBinary,
    folder: TempFolder,
}

#[derive(Debug)]
struct Running {
    /// `None` after [`Server::kill`] and [`Server::terminate`].
    process: Option<Process>,
    /// Chosen at the first start and kept at all later ones.
    port: u16,
    monitoring: u16,
}

impl Server {
    /// The server that most tests want: JetStream, no users, no TLS.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Self, Failure> {
        Self::builder().start()
    }

    /// A server to be configured.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn launched(binary: ServerBinary, settings: Builder) -> Result<Self, Failure> {
        let port = match settings.port {
            Some(port) => port,
            None => ports::free_port()?,
        };
        let server = Self {
            folder: TempFolder::new("nats")?,
            binary,
            settings,
            running: Mutex::new(Running {
                process: None,
                port,
                monitoring: 0,
            }),
        };
        server.start_again()?;
        Ok(server)
    }

    /// One server for all tests of a program that use names of their own; it
    /// stops with the last of them.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn shared() -> Result<Arc<Self>, Failure> {
        static SHARED: Shared = Shared::new(Server::builder);
        SHARED.start()
    }

    /// `nats://127.0.0.1:<port>`; the same for the server's whole life, restarts
    /// included.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.running().port)
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().process.as_ref().map(Process::pid)
    }

    /// What it says of its version, such as `2.15.1`.
    ///
    /// # Errors
    /// When the program does not run.
    pub fn version(&self) -> Result<String, Failure> {
        self.binary.version()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Kills it (SIGKILL) and waits until it is gone. Its state stays on disk.
    pub fn kill(&self) {
        self.running().process = None;
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub fn terminate(&self) -> Result<(), Failure> {
        let Some(process) = self.running().process.take() else {
            return Ok(());
        };
        process.signal("TERM")?;
        process.wait(PATIENCE)
    }

    /// Stops the process where it is (SIGSTOP) and waits until it stands still:
    /// connections stay open and nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal("STOP")?;
        let deadline = Instant::now() + PATIENCE;
        while !self
            .running()
            .process
            .as_ref()
            .is_none_or(Process::is_stopped)
        {
            if Instant::now() > deadline {
                return Err(Failure::new("freezing the server", "it goes on"));
            }
            pause();
        }
        Ok(())
    }

    /// Lets it go on (SIGCONT) after [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<(), Failure> {
        self.signal("CONT")
    }

    /// Tells it to send its clients away one by one and to end (SIGUSR2).
    ///
    /// # Errors
    /// When it does not run.
    pub fn lame_duck(&self) -> Result<(), Failure> {
        self.signal("USR2")
    }

    /// Ends it in order and starts it again, on the same port, with its state.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate) and [`start_again`](Self::start_again).
    pub fn restart(&self) -> Result<(), Failure> {
        self.terminate()?;
        self.start_again()
    }

    /// Starts it after it was killed or terminated, on the same port, with its
    /// state, and waits until it takes connections. Does nothing while it runs.
    ///
    /// # Errors
    /// When it does not start: what its log says.
    pub fn start_again(&self) -> Result<(), Failure> {
        let mut running = self.running();
        if running.process.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        // A port that was free a moment ago may be somebody's for a moment.
        loop {
            match self.launch(&mut running, deadline) {
                Err(_) if Instant::now() < deadline && self.port_was_taken() => pause(),
                outcome => return outcome,
            }
        }
    }

    fn launch(&self, running: &mut Running, deadline: Instant) -> Result<(), Failure> {
        let what = "starting nats-server";
        let config = self.path("server.conf");
        let folder = self.folder.path();
        let text = self.settings.configuration(folder, running.port);
        fs::write(&config, text).doing(what)?;
        // A killed server leaves its ports file behind.
        let ports = self.path("ports");
        let _ = fs::remove_dir_all(&ports);
        fs::create_dir_all(&ports).doing(what)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .doing(what)?;
        let mut process = Process::spawn(self.binary.path(), &config, log)?;
        let (port, monitoring) = loop {
            if let Some(ports) = self.ports() {
                break ports;
            }
            let why = match process.ended() {
                Some(how) => format!("it ended with {how}"),
                None if Instant::now() > deadline => "it does not get ready".to_owned(),
                None => {
                    pause();
                    continue;
                }
            };
            return Err(Failure::new(
                what,
                format_args!("{why}; its log:\n{}", self.log()),
            ));
        };
        *running = Running {
            process: Some(process),
            port,
            monitoring,
        };
        Ok(())
    }

    /// The ports that it writes down once it listens; the file grows while we
    /// look, so it counts only when it is whole.
    fn ports(&self) -> Option<(u16, u16)> {
        #[derive(Deserialize)]
        struct Ports {
            nats: Vec<String>,
            monitoring: Vec<String>,
        }
        let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
        let file = fs::read_dir(self.path("ports")).ok()?.flatten().next()?;
        let ports: Ports = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        Some((port(&ports.nats)?, port(&ports.monitoring)?))
    }

    fn port_was_taken(&self) -> bool {
        self.log()
            .lines()
            .last()
            .is_some_and(|line| line.contains("address already in use"))
    }

    /// The names that its connections gave themselves.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn connection_names(&self) -> Vec<String> {
        let body = self.monitored("/connz").expect("the server says");
        names(&body["connections"], "name")
    }

    /// The names of the servers of the cluster that it is connected to; `None` when it
    /// does not say.
    #[must_use]
    pub fn route_names(&self) -> Option<Vec<String>> {
        let body = self.monitored("/routez")?;
        Some(names(&body["routes"], "remote_name"))
    }

    /// Whether it says of itself that it is well: in a cluster, that it knows a
    /// leader and has caught up.
    pub(crate) fn healthy(&self) -> bool {
        self.monitor("/healthz").is_ok_and(|answer| {
            answer
                .lines()
                .next()
                .is_some_and(|line| line.contains(" 200 "))
        })
    }

    /// What its monitoring port answers, in JSON.
    fn monitored(&self, path: &str) -> Option<Value> {
        let answer = self.monitor(path).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// What its monitoring port answers.
    fn monitor(&self, path: &str) -> std::io::Result<String> {
        let port = self.running().monitoring;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn signal(&self, name: &str) -> Result<(), Failure> {
        match &self.running().process {
            Some(process) => process.signal(name),
            None => Err(Failure::new(
                format_args!("sending SIG{name}"),
                "the server does not run",
            )),
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log_file(&self) -> PathBuf {
        self.path("log")
    }
}

/// The texts under `name` in the things of a list.
fn names(list: &Value, name: &str) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |one: &Value| one[name].as_str().unwrap_or_default().to_owned();
    list.iter().map(name).collect()
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}---", self.url(), self.log());
        }
        self.kill();
    }
}
