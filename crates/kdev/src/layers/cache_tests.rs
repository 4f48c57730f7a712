//! Tests of the layer cache.

use super::*;

fn cache() -> (tempfile::TempDir, LayerCache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = LayerCache::open_in(dir.path()).unwrap();
    (dir, cache)
}

/// Stores a layer and returns its diffID.
fn store(cache: &LayerCache, tar: &[u8]) -> String {
    let (_, Blob::Layer(layer)) = cache.store(tar).unwrap() else { panic!("not a layer") };
    layer.diff_id
}

#[test]
fn directory_is_valid_oci_layout() {
    let (dir, cache) = cache();
    let layer = zstd::encode_all(&b"a layer"[..], 1).unwrap();
    let diff_id = store(&cache, &layer);
    let blob = dir.path().join("layers/blobs/sha256").join(&diff_id["sha256:".len()..]);
    assert_eq!(fs::read(blob).unwrap(), b"a layer");
    cache.store(&b"{}"[..]).unwrap();
    assert_eq!(cache.config(&sha256(b"{}")).unwrap(), b"{}");
    let json = |name| -> serde_json::Value {
        serde_json::from_slice(&fs::read(dir.path().join("layers").join(name)).unwrap()).unwrap()
    };
    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    assert_eq!(json("index.json")["schemaVersion"], 2);
    assert_eq!(json("index.json")["manifests"], serde_json::json!([]));
    assert_eq!(cache.files(INGEST).len(), 0);
}

#[test]
fn old_files_are_removed_once() {
    let dir = tempfile::tempdir().unwrap();
    let layers = dir.path().join("layers");
    fs::create_dir(&layers).unwrap();
    let hex = "0a".repeat(32);
    let old = ["tar", "json", "builds", "rate"].map(|kind| format!("sha256-{hex}.{kind}"));
    let digests = ["127.0.0.1:47600", "127.0.0.1:47600@root@far", "archives", "configs"];
    let old = old
        .into_iter()
        .chain([".tmpAb12cD".to_owned()])
        .chain(digests.map(|name| format!("{name}.digests")));
    let old: Vec<PathBuf> = old.map(|name| layers.join(name)).collect();
    let others =
        [".tmp", "sha256-0a.tar", "my.digests", "notes.json", &format!("sha256-{hex}.txt")];
    let others = others.map(|name| layers.join(name));
    old.iter().chain(&others).for_each(|path| fs::write(path, "x").unwrap());
    LayerCache::open_in(dir.path()).unwrap();
    assert!(!old.iter().any(|path| path.exists()));
    assert!(others.iter().all(|path| path.exists()));
    // A version with the old layout runs again.
    fs::write(&old[0], "x").unwrap();
    LayerCache::open_in(dir.path()).unwrap();
    assert!(old[0].exists());
}

#[test]
fn trim_keeps_layers_with_latest_use() {
    let (_dir, cache) = cache();
    let ids = [b"one..", b"two..", b"three", b"four."].map(|tar| store(&cache, tar));
    // The first build is the base of patches for the second one.
    cache.record_build("app", &ids[..1]);
    cache.record_build("app", &ids[1..2]);
    cache.trim_to(10, 5);
    let kept = |cache: &LayerCache| ids.clone().map(|id| cache.get(&id).is_some());
    assert_eq!(kept(&cache), [true, true, false, false]);
    cache.get(&ids[0]).unwrap().read().unwrap();
    cache.trim_to(5, 5);
    assert_eq!(kept(&cache), [true, false, false, false]);
    cache.trim_to(5, 4);
    assert_eq!(kept(&cache), [false; 4]);
}

#[test]
fn large_layers_of_other_builds_stay_until_load() {
    let (_dir, cache) = cache();
    let ids = [b"one", b"two"].map(|tar| store(&cache, tar));
    for id in &ids {
        let file = File::options().write(true).open(cache.blob(id).unwrap()).unwrap();
        file.set_len(MAX_KEPT_LAYER_BYTES + 1).unwrap();
    }
    let small = store(&cache, b"small");
    cache.trim_small();
    cache.evict_large(&small);
    cache.evict_large(&ids[0]);
    assert!(cache.get(&small).is_some() && cache.get(&ids[1]).is_some());
    assert!(cache.get(&ids[0]).is_none());
}

#[test]
fn trim_keeps_files_that_another_run_writes() {
    let (_dir, cache) = cache();
    let (new, killed) = (cache.temporary_file().unwrap(), cache.temporary_file().unwrap());
    new.as_file().set_len(2 * MAX_KEPT_LAYER_BYTES).unwrap();
    killed.as_file().set_modified(SystemTime::now() - 2 * MAX_INGEST_AGE).unwrap();
    cache.trim();
    assert!(new.path().exists() && !killed.path().exists());
}

#[test]
fn malformed_digest_is_not_in_cache() {
    let (_dir, cache) = cache();
    for digest in ["", "sha256:", "sha256:../../oci-layout", "sha512:ab", "oci-layout"] {
        assert!(cache.get(digest).is_none() && cache.config(digest).is_none(), "{digest}");
        cache.evict(digest);
    }
}

#[test]
fn damaged_configuration_is_not_returned() {
    let (_dir, cache) = cache();
    cache.store(&b"{}"[..]).unwrap();
    fs::write(cache.blob(&sha256(b"{}")).unwrap(), "{ }").unwrap();
    assert!(cache.config(&sha256(b"{}")).is_none());
}

#[test]
fn layer_is_not_written_to_almost_full_disk() {
    let (dir, cache) = cache();
    let error = cache.on_full_disk().store(&b"a layer"[..]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    for subdirectory in [BLOBS, INGEST] {
        let files = fs::read_dir(dir.path().join("layers").join(subdirectory)).unwrap();
        assert_eq!(files.count(), 0);
    }
}
