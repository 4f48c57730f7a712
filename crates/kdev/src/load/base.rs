//! Reads the configuration of an image on the nodes that is the base of another one.

use kdev_core::image::archive::diff_ids;
use kdev_core::image::assembly;
use kdev_core::image::reference::Reference;

use crate::cx::Cx;
use crate::layers::cache::LayerCache;
use crate::load::error::{Error, Result};
use crate::load::targets::{Targets, open_all};
use crate::parallel::map_all;
use crate::process;

/// Stores the configuration that the nodes of a platform have in the cache, and returns its digest.
/// Nothing else of the image is read. Fails if two nodes have another image under this name.
pub(crate) fn read_config(
    cx: &Cx,
    to: &Targets,
    cache: &LayerCache,
    base: &Reference,
    platform: Option<&str>,
) -> Result<String> {
    let name = base.to_string();
    let results = map_all(&open_all(cx, to)?, |opened| {
        let connection = opened.as_ref().ok()?;
        let is_fit = platform.is_none_or(|platform| platform == connection.node.info.platform());
        let config = connection.image_config(cx, &name).ok().flatten().filter(|_| is_fit)?;
        diff_ids(config.as_bytes())?;
        Some((connection.node.name.clone(), serde_json::from_str(&config).ok()?, config))
    });
    cx.check_interrupt()?;
    let mut found = results.into_iter().flatten();
    let Some((node, first, config)) = found.next() else {
        let nodes = to.nodes.iter().map(|node| node.name.clone()).collect();
        return Err(Error::BaseNotFound { base: base.familiar(), nodes });
    };
    if let Some((other, ..)) = found.find(|(_, other, _)| !assembly::is_same_base(&first, other)) {
        return Err(Error::BaseDiffers { base: base.familiar(), nodes: [node, other] });
    }
    let stored = cache.store_bytes(config.as_bytes());
    Ok(stored.map_err(process::Error::write("the layer cache"))?)
}
