//! A network between a client and a server that can be held up and cut, at any byte, and
//! that counts the acknowledgements that pass.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::failure::{Doing as _, Failure};

/// What ends every acknowledgement on the wire.
const ACK: &[u8] = b"+ACK\r\n";

/// Passes connections on to a server. Ends with its handle.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What clients have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// Acknowledgements.
    pub all: usize,
    /// How often one or more of them could be read. There were at least as many
    /// writes.
    pub reads: usize,
}

/// How much a connection carries before it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ration {
    /// So many bytes from the client.
    ToServer(usize),
    /// So many bytes from the server.
    ToClient(usize),
}

impl Ration {
    const fn bytes(self, to_client: bool) -> Option<usize> {
        match (self, to_client) {
            (Self::ToServer(bytes), false) | (Self::ToClient(bytes), true) => Some(bytes),
            _ => None,
        }
    }
}

/// What is kept instead of passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Nothing,
    /// What goes to clients.
    ToClients,
    Everything,
}

impl Held {
    fn keeps(self, to_client: bool) -> bool {
        self == Self::Everything || (self == Self::ToClients && to_client)
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// Who connects is hung up on.
    shut: bool,
    /// Counts cuts: what was read before one goes nowhere after it.
    cuts: u64,
    over: bool,
    acks: Acks,
    open: Vec<TcpStream>,
    /// Of the open connections, those to clients.
    clients: Vec<TcpStream>,
    /// Of the connections to come.
    rations: VecDeque<Ration>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface for clients of `server`.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(server: String) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").doing("listening")?;
        let address = listener.local_addr().doing("listening")?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state().over {
                    return;
                }
                // Without a server the client is hung up on.
                let _ = accepting.connect(client, &server);
            }
        });
        Ok(Self { address, shared })
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The acknowledgements until now.
    #[must_use]
    pub fn acks(&self) -> Acks {
        self.shared.state().acks
    }

    /// Says `bytes` to all clients in the server's name, in the middle of whatever it was
    /// saying.
    pub fn say(&self, bytes: &[u8]) {
        let state = self.shared.state();
        for mut client in &state.clients {
            // One that has hung up hears nothing.
            let _ = client.write_all(bytes);
        }
    }

    /// Keeps what the server sends from now on.
    pub fn hold(&self) {
        self.shared.state().held = Held::ToClients;
    }

    /// Keeps what either side sends from now on, on new connections too, which can still
    /// be made: as if packets got lost.
    pub fn stall(&self) {
        self.shared.state().held = Held::Everything;
    }

    /// Breaks all connections, and hangs up on new ones.
    pub fn shut(&self) {
        self.shared.state().shut = true;
        self.cut();
    }

    /// Keeps what either side sends from now on, and hangs up on new connections: who is
    /// connected has to find another way, and the server hears nothing of that.
    pub fn strand(&self) {
        let mut state = self.shared.state();
        state.held = Held::Everything;
        state.shut = true;
    }

    /// Passes on what was kept and all that comes, on new connections too.
    pub fn open(&self) {
        let mut state = self.shared.state();
        state.held = Held::Nothing;
        state.shut = false;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Breaks all connections. Of the new ones the first gets the first of these rations
    /// and so on; those after them carry all.
    pub fn ration(&self, rations: impl IntoIterator<Item = Ration>) {
        self.shared.state().rations = rations.into_iter().collect();
        self.cut();
    }

    /// How many rations are not begun.
    #[must_use]
    pub fn rations(&self) -> usize {
        self.shared.state().rations.len()
    }

    /// Breaks all connections; what was kept is lost. New ones pass.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.held = Held::Nothing;
        state.cuts += 1;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.clients.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream, server: &str) -> std::io::Result<()> {
        if self.state().shut {
            return Ok(());
        }
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
        let mut state = self.state();
        if state.shut {
            return Ok(());
        }
        state
            .open
            .extend([client.try_clone()?, server.try_clone()?]);
        state.clients.push(client.try_clone()?);
        let cuts = state.cuts;
        let ration = state.rations.pop_front();
        drop(state);
        let left = |to_client| {
            let bytes = ration.and_then(|ration| ration.bytes(to_client));
            bytes.unwrap_or(usize::MAX)
        };
        let (to_pass, to_come) = (left(false), left(true));
        let (out, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || out.pass(from_client, to_server, cuts, to_pass, false));
        thread::spawn(move || back.pass(server, client, cuts, to_come, true));
        Ok(())
    }

    /// Counts the acknowledgements in what was read; `tail` is what was read before and
    /// may be the beginning of one.
    fn count(&self, tail: &mut Vec<u8>, read: &[u8]) {
        tail.extend_from_slice(read);
        let acks = tail.windows(ACK.len()).filter(|part| *part == ACK).count();
        tail.drain(..tail.len().saturating_sub(ACK.len() - 1));
        let mut state = self.state();
        state.acks.all += acks;
        state.acks.reads += usize::from(acks > 0);
    }

    /// Copies bytes until either side ends, or so many have passed.
    fn pass(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        cuts: u64,
        mut left: usize,
        to_client: bool,
    ) {
        let mut buffer = [0; 16_384];
        let mut tail = Vec::new();
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if !to_client {
                self.count(&mut tail, &buffer[..len]);
            }
            let mut state = self.state();
            while state.held.keeps(to_client) && state.cuts == cuts {
                state = (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
            }
            if state.cuts != cuts {
                break;
            }
            drop(state);
            let passed = len.min(left);
            left -= passed;
            if to.write_all(&buffer[..passed]).is_err() || left == 0 {
                break;
            }
        }
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;

    /// A server that says what it hears.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut &stream, &mut back));
            }
        });
        address
    }

    fn said(stream: &mut TcpStream) -> std::io::Result<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    }

    #[test]
    fn what_a_stalled_way_keeps_passes_when_it_opens() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut old = TcpStream::connect(proxy.address()).unwrap();
        old.write_all(&[1]).unwrap();
        assert_eq!(said(&mut old).unwrap(), 1);
        proxy.stall();
        let mut new = TcpStream::connect(proxy.address()).unwrap();
        for (stream, byte) in [(&mut old, 2), (&mut new, 3)] {
            stream.write_all(&[byte]).unwrap();
            let soon = Some(Duration::from_millis(50));
            stream.set_read_timeout(soon).unwrap();
            let nothing = said(stream).unwrap_err().kind();
            assert!(matches!(
                nothing,
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            ));
            stream.set_read_timeout(None).unwrap();
        }
        proxy.open();
        assert_eq!((said(&mut old).unwrap(), said(&mut new).unwrap()), (2, 3));
    }

    #[test]
    fn a_shut_way_breaks_what_there_is_and_hangs_up_on_what_comes() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut old = TcpStream::connect(proxy.address()).unwrap();
        old.write_all(&[1]).unwrap();
        assert_eq!(said(&mut old).unwrap(), 1);
        proxy.shut();
        assert!(said(&mut old).is_err());
        let mut new = TcpStream::connect(proxy.address()).unwrap();
        assert!(said(&mut new).is_err());
        proxy.open();
        let mut new = TcpStream::connect(proxy.address()).unwrap();
        new.write_all(&[2]).unwrap();
        assert_eq!(said(&mut new).unwrap(), 2);
    }
}
