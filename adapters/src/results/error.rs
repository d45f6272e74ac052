//! Why there is no stream of results.

use std::fmt;

use crate::error::OptionError;

/// Why a stream of results could not be opened. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultsError {
    /// The capacity is out of its bounds.
    Option(OptionError),
    /// 0 stands for no tenant: [`Bus::results`](crate::Bus::results) is for those.
    NoTenant,
    /// Somebody reads these results already: a result is read once.
    Twice {
        /// The tenant; 0 for none.
        tenant: i64,
    },
    /// The bus is closing or closed.
    Closed,
}

impl fmt::Display for ResultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(error) => error.fmt(f),
            Self::NoTenant => f.write_str("tenant 0 stands for none"),
            Self::Twice { tenant: 0 } => {
                f.write_str("the results of events without a tenant are read already")
            }
            Self::Twice { tenant } => {
                write!(f, "the results of tenant {tenant} are read already")
            }
            Self::Closed => f.write_str("the bus is closed"),
        }
    }
}

impl std::error::Error for ResultsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Option(error) => Some(error),
            _ => None,
        }
    }
}
