//! The streams of dead letters and of redrives, as this bus wants them.

use std::sync::Arc;

use jetbus_core::dead_letter::Names;

use crate::bus::Inner;
use crate::error::StreamError;
use crate::streams::{StreamEntry, Wanted};

/// Where dead letters and redrives go.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) names: Names,
    pub(crate) dead: Arc<StreamEntry>,
    pub(crate) redrive: Arc<StreamEntry>,
}

impl Place {
    pub(crate) fn of(bus: &Inner) -> Result<Self, Arc<StreamError>> {
        let options = &bus.settings.dead_letters;
        // Checked when the bus opened.
        let names = options.names().unwrap_or_default();
        let entry = |wanted| bus.streams.entry(Wanted::Declared(wanted));
        Ok(Self {
            dead: entry(options.dead_stream(&names))?,
            redrive: entry(options.redrive_stream(&names))?,
            names,
        })
    }
}
