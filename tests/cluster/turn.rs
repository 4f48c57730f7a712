//! Whose turn it is: tests share the lab, but one that harms a node has it alone.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held for reading by every test, and for writing by one that harms a node.
static NODES_ARE_WELL: RwLock<()> = RwLock::new(());

/// The right to use the lab, until it is dropped.
#[expect(dead_code, reason = "what they hold is never read")]
pub(crate) enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    pub(crate) fn shared() -> Self {
        Self::Shared(NODES_ARE_WELL.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn alone() -> Self {
        Self::Alone(NODES_ARE_WELL.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}
