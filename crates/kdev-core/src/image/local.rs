//! An image of docker here.

use serde::{Deserialize, Serialize};

/// An image of docker here, under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Local {
    /// In its full form.
    pub name: String,
    /// As docker has it: of the configuration in the classic store.
    pub id: String,
    /// As docker says it: `3 minutes ago`.
    pub age: String,
    /// When it was made, as the API writes it; empty where docker does not tell.
    pub made: String,
    /// As `linux/amd64`; empty where docker was not asked.
    pub platform: String,
}
