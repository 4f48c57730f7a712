//! Reads the configuration of an image on the nodes that is the base of another one.

use kdev_core::image::archive::diff_ids;
use kdev_core::image::reference::Reference;

use crate::cx::Cx;
use crate::layers::cache::LayerCache;
use crate::load::error::{Error, Result};
use crate::load::targets::{Targets, open_all};
use crate::parallel::map_all;
use crate::process;

/// Stores the configuration that a node has for a platform in the cache, and returns its digest.
/// Nothing else of the image is read. Without a platform, the first node decides.
pub(crate) fn read_config(
    cx: &Cx,
    to: &Targets,
    cache: &LayerCache,
    base: &Reference,
    platform: Option<&str>,
) -> Result<String> {
    let name = base.to_string();
    let results = map_all(&open_all(cx, to)?, |opened| match opened {
        Ok(connection) => {
            let platform_of_node = connection.node.info.platform();
            let config = connection.image_config(cx, &name).ok().flatten();
            config.filter(|_| platform.is_none_or(|platform| platform == platform_of_node))
        }
        Err(_) => None,
    });
    cx.check_interrupt()?;
    let is_config = |config: &String| diff_ids(config.as_bytes()).is_some();
    let Some(config) = results.into_iter().flatten().find(is_config) else {
        let nodes = to.nodes.iter().map(|node| node.name.clone()).collect();
        return Err(Error::BaseNotFound { base: base.familiar(), nodes });
    };
    let stored = cache.store_bytes(config.as_bytes());
    Ok(stored.map_err(process::Error::write("the layer cache"))?)
}
