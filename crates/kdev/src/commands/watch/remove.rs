//! Deletes at the end the packages that the watch has created.

use std::collections::BTreeMap;

use crate::commands::down::{self, DownRequest};
use crate::commands::live_pods;
use crate::commands::up::UpRequest;
use crate::cx::{Cx, Interrupt};
use crate::error::Result;
use crate::event::Event;

/// The packages to delete at the end.
pub(super) struct Removal {
    /// The packages that were not applied before the watch, each with its context and namespace.
    new: BTreeMap<String, (String, String)>,
}

impl Removal {
    /// Finds the packages that are not applied.
    pub(super) fn prepare(cx: &Cx, request: &UpRequest) -> Result<Self> {
        let found = down::find_applied(cx, &down_request(request))?;
        let new = found.into_iter().filter(|one| !one.is_applied);
        Ok(Self { new: new.map(|one| (one.package, (one.context, one.namespace))).collect() })
    }

    /// Deletes them. A first interrupt has ended the watch, so only a second one ends this.
    pub(super) fn run(&self, cx: &Cx, request: &UpRequest) -> Result<()> {
        let cx = cx.clone().with_interrupt(Interrupt::never());
        let mut kept = Vec::new();
        for one in down::find_applied(&cx, &down_request(request))? {
            if !one.is_applied {
                continue;
            }
            let selection = request.selection.of_package(&one.package);
            if self.new.get(&one.package) == Some(&(one.context, one.namespace)) {
                down::down(&cx, &DownRequest { selection, ..down_request(request) })?;
            } else {
                kept.push(one.package);
            }
        }
        for package in kept {
            let UpRequest { selection, target, flags, .. } = request;
            let flags = live_pods::repeatable_flags(&selection.of_package(&package), target, flags);
            let text = format!(
                "`{package}` was applied before this watch, so it stays; run `cargo kdev down{flags}` to delete it"
            );
            cx.emit(Event::Note { text });
        }
        Ok(())
    }
}

fn down_request(request: &UpRequest) -> DownRequest {
    let UpRequest { selection, target, flags, .. } = request.clone();
    DownRequest { selection, target, flags, ..DownRequest::default() }
}
