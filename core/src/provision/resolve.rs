//! Which stream a topic belongs to: one answer for publishers and subscribers.

use super::{Output, ProvisionError, RequestFailed, WantedStream};
use crate::Message;
use crate::jetstream::admin::{answer, stream_names};
use crate::jetstream::api::StreamNames;
use crate::names::{Api, own_stream};

/// Where a topic belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// To the declared stream at this place in the list: ensure it.
    Declared(usize),
    /// To this stream, which is there ([`EnsureStream::existing`]).
    ///
    /// [`EnsureStream::existing`]: super::EnsureStream::existing
    Existing(String),
    /// To a stream of its own, of this name: ensure it, whether it is there or not.
    Own(String),
}

/// Finds the stream of a topic or pattern: the first declared stream that covers
/// it; else the one that the server names for it, whoever made it; else its own.
#[derive(Debug)]
pub struct ResolveTopic {
    topic: String,
    waiting: bool,
    out: Option<Output<Resolution>>,
}

impl ResolveTopic {
    /// Starts for `topic`, which was checked before.
    #[must_use]
    pub fn new<'a>(
        api: &Api,
        topic: &str,
        declared: impl IntoIterator<Item = &'a WantedStream>,
    ) -> Self {
        let declared = declared.into_iter().position(|stream| stream.covers(topic));
        Self {
            topic: topic.into(),
            waiting: declared.is_none(),
            out: Some(match declared {
                Some(at) => Output::Done(Ok(Resolution::Declared(at))),
                None => Output::Request(stream_names(api, Some(topic), 0)),
            }),
        }
    }

    /// The next request, or the end.
    pub fn poll(&mut self) -> Option<Output<Resolution>> {
        self.out.take()
    }

    /// Takes the answer to the last request. Anything after the end is ignored.
    pub fn handle(&mut self, reply: Result<&Message, RequestFailed>) {
        if !std::mem::take(&mut self.waiting) {
            return;
        }
        let names = reply
            .map_err(ProvisionError::Request)
            .and_then(|message| answer::<StreamNames>(message).map_err(ProvisionError::Admin));
        self.out = Some(Output::Done(
            names.and_then(|names| self.choose(names.streams)),
        ));
    }

    fn choose(&self, mut streams: Vec<String>) -> Result<Resolution, ProvisionError> {
        let own = own_stream(&self.topic);
        match streams.len() {
            0 => Ok(Resolution::Own(own)),
            1 if streams.contains(&own) => Ok(Resolution::Own(own)),
            1 => Ok(Resolution::Existing(streams.remove(0))),
            // Only a pattern may reach into several streams.
            _ => Err(ProvisionError::Overlap {
                name: self.topic.clone(),
                others: streams,
            }),
        }
    }
}
