//! The steps of other tools, without their own delays: none waits for quiet after a save.

use crate::bench::inner_loop::pod::NewestPod;
use crate::bench::inner_loop::service::{self, Save, Service};
use crate::bench::inner_loop::{NODE, Sample};
use crate::bench::methods::{Bench, Method, PREFIX, Registry};
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;
use xshell::cmd;

/// Starts the program again when it ends, as the process 1 of a container.
const WRAPPER: &str = "while :; do
  /live/program & echo $! >/live/pid
  wait $!
done
";
const LIVE_DOCKERFILE: &str =
    "FROM scratch\nCOPY live /live\nENTRYPOINT [\"/live/busybox\", \"sh\", \"/live/wrapper\"]\n";
/// Replaces the program in a running container, and ends the running one.
const REPLACE: &str = "/live/busybox tar -x -C /live && kill $(/live/busybox cat /live/pid)";

/// A method to run a changed program in the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// `kubectl set image` between two images that the node has.
    Floor,
    /// `cargo build`, and a copy into the running container (Tilt's live update).
    Live,
    /// `cargo build`, `docker build`, a registry on the node, `kubectl set image` (Skaffold).
    Registry,
    /// `cargo build`, `docker build`, `docker save` piped into `ctr import`, `kubectl set image`.
    Hand,
}

/// The service, and a Deployment of it for each method.
pub(super) struct Peers<'a> {
    bench: &'a Bench,
    registry: Registry,
    service: Service,
    pods: [NewestPod; Peer::ALL.len()],
    builds: usize,
    /// The images between which the floor changes, and their markers. The first one runs.
    loaded: [(String, String); 2],
}

impl Peer {
    pub(super) const ALL: [Self; 4] = [Self::Floor, Self::Live, Self::Registry, Self::Hand];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "only `kubectl set image` (floor)",
            Self::Live => "`cargo build`, `tar` through `kubectl exec`, restart",
            Self::Registry => "`cargo build`, `docker build`, push to the node, `set image`",
            Self::Hand => "`cargo build`, `docker build`, save, import, `set image`",
        }
    }

    fn namespace(self) -> String {
        let name = match self {
            Self::Floor => "floor",
            Self::Live => "live",
            Self::Registry => "registry",
            Self::Hand => "hand",
        };
        format!("{PREFIX}-loop-{name}")
    }
}

pub(super) fn namespaces() -> impl Iterator<Item = String> {
    Peer::ALL.into_iter().map(Peer::namespace)
}

impl<'a> Peers<'a> {
    /// Deploys the service with each method.
    pub(super) fn prepare(bench: &'a Bench) -> Result<Self> {
        let registry = Registry::start(&bench.sh, NODE)?;
        let mut service = Service::create(bench, &image_name())?;
        let first = service.save_source()?;
        let program = service.build(bench)?;
        fs::create_dir_all(service.folder.join("live"))?;
        fs::copy("/bin/busybox", service.folder.join("live/busybox"))?;
        fs::write(service.folder.join("live/wrapper"), WRAPPER)?;
        fs::copy(service.folder.join(&program), service.folder.join("live/program"))?;
        fs::write(service.folder.join("live.Dockerfile"), LIVE_DOCKERFILE)?;
        let images = ["live", "first", "second"].map(|tag| format!("{}:{tag}", image_name()));
        let [live, one, two] = images;
        build_image(bench, &service, "live.Dockerfile", &live)?;
        build_image(bench, &service, "Dockerfile", &one)?;
        let second = service.save_source()?;
        service.build(bench)?;
        build_image(bench, &service, "Dockerfile", &two)?;
        for image in [&live, &one, &two] {
            bench.load(Method::Pipe, NODE, image)?;
        }
        for peer in Peer::ALL {
            let namespace = peer.namespace();
            bench.kubectl("default", &["create", "namespace", &namespace]).ignore_stdout().run()?;
            let image = if peer == Peer::Live { &live } else { &one };
            let text = service::manifest("web", image, "IfNotPresent", "none");
            let apply = bench.kubectl(&namespace, &["apply", "--filename", "-"]);
            apply.stdin(text).ignore_stdout().run()?;
            rollout_status(bench, peer)?;
        }
        let pods = namespaces().map(|namespace| NewestPod::follow(bench, &namespace));
        let pods: Vec<NewestPod> = pods.collect::<Result<_>>()?;
        let Ok(pods) = pods.try_into() else { anyhow::bail!("a pod is missing") };
        let peers = Self {
            bench,
            registry,
            service,
            pods,
            builds: 0,
            loaded: [(one, first.marker.clone()), (two, second.marker)],
        };
        let first = Save { start: Instant::now(), marker: first.marker };
        peers.pods.iter().try_for_each(|pod| pod.wait_for(&first).map(drop))?;
        Ok(peers)
    }

    /// Changes the program with this method.
    pub(super) fn change(&mut self, peer: Peer) -> Result<Sample> {
        let mut steps = Vec::new();
        let save = match peer {
            Peer::Floor => self.change_image()?,
            Peer::Live => self.copy_into_container(&mut steps)?,
            Peer::Registry | Peer::Hand => self.replace_image(peer, &mut steps)?,
        };
        let pod = &self.pods[peer as usize];
        let answer = pod.wait_for(&save)?;
        if peer != Peer::Live {
            rollout_status(self.bench, peer)?;
        }
        Ok(Sample { answer, steps, starts: None })
    }

    fn change_image(&mut self) -> Result<Save> {
        self.loaded.swap(0, 1);
        let (image, marker) = self.loaded[0].clone();
        let start = Instant::now();
        self.set_image(Peer::Floor, &image)?;
        Ok(Save { start, marker })
    }

    fn copy_into_container(&mut self, steps: &mut Vec<(&'static str, f64)>) -> Result<Save> {
        let pod = self.pods[Peer::Live as usize].name()?;
        let save = self.service.save_source()?;
        let program = self.build(steps)?;
        let (folder, namespace) = (&self.service.folder, Peer::Live.namespace());
        let live = folder.join("live");
        timed(steps, "copy", || {
            fs::copy(folder.join(program), live.join("program"))?;
            let script = r#"tar -c -C "$0" program | kubectl --namespace "$1" exec --stdin "$2" -- /live/busybox sh -c "$3""#;
            Ok(cmd!(self.bench.sh, "sh -c {script} {live} {namespace} {pod} {REPLACE}")
                .quiet()
                .run()?)
        })?;
        Ok(save)
    }

    fn replace_image(&mut self, peer: Peer, steps: &mut Vec<(&'static str, f64)>) -> Result<Save> {
        let (sh, name) = (&self.bench.sh, image_name());
        self.builds += 1;
        let tag = self.builds;
        let is_registry = peer == Peer::Registry;
        let image = if is_registry {
            format!("{}/{name}:{tag}", self.registry.address())
        } else {
            format!("{name}:{tag}")
        };
        let save = self.service.save_source()?;
        self.build(steps)?;
        timed(steps, "docker build", || {
            build_image(self.bench, &self.service, "Dockerfile", &image)
        })?;
        if is_registry {
            timed(steps, "push", || {
                Ok(cmd!(sh, "docker push --quiet {image}").quiet().ignore_stdout().run()?)
            })?;
        } else {
            timed(steps, "import", || self.bench.load(Method::Pipe, NODE, &image).map(drop))?;
        }
        self.set_image(peer, &image)?;
        Ok(save)
    }

    fn build(&self, steps: &mut Vec<(&'static str, f64)>) -> Result<PathBuf> {
        timed(steps, "cargo", || self.service.build(self.bench))
    }

    fn set_image(&self, peer: Peer, image: &str) -> Result<()> {
        let set = ["set", "image", "deployment/web", &format!("web={image}")];
        Ok(self.bench.kubectl(&peer.namespace(), &set).ignore_stdout().run()?)
    }
}

fn image_name() -> String {
    format!("{PREFIX}-loop-peers")
}

fn timed<T>(
    steps: &mut Vec<(&'static str, f64)>,
    name: &'static str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let result = work()?;
    steps.push((name, start.elapsed().as_secs_f64()));
    Ok(result)
}

fn build_image(bench: &Bench, service: &Service, file: &str, image: &str) -> Result<()> {
    let (folder, file) = (&service.folder, service.folder.join(file));
    let build = cmd!(bench.sh, "docker build --quiet --file {file} --tag {image} {folder}");
    Ok(build.quiet().ignore_stdout().ignore_stderr().run()?)
}

fn rollout_status(bench: &Bench, peer: Peer) -> Result<()> {
    let status = ["rollout", "status", "deployment/web", "--timeout=120s"];
    Ok(bench.kubectl(&peer.namespace(), &status).ignore_stdout().run()?)
}
