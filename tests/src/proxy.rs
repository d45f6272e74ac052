//! A proxy that stands between one client and its server and looks at what the
//! client writes.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What ends every acknowledgement on the wire.
const ACK: &[u8] = b"+ACK\r\n";

/// A proxy for one connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What a client has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Acknowledgements.
    pub acks: usize,
    /// How often one or more of them could be read. There were at least as many
    /// writes.
    pub reads: usize,
}

impl Proxy {
    /// A proxy for the next connection to `server`, a host and port.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn to(server: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(server)?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let (from, to) = (server.try_clone()?, client.try_clone()?);
            thread::spawn(move || pass(from, to, |_| {}));
            let mut tail = Vec::new();
            pass(client, server, |bytes| {
                tail.extend_from_slice(bytes);
                let acks = tail.windows(ACK.len()).filter(|part| *part == ACK).count();
                tail.drain(..tail.len().saturating_sub(ACK.len() - 1));
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                seen.acks += acks;
                seen.reads += usize::from(acks > 0);
            })
        });
        Ok(Self { address, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// What its client has written until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what is read, until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return to.shutdown(Shutdown::Both),
            Ok(read) => read,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        look(bytes);
        to.write_all(bytes)?;
    }
}
