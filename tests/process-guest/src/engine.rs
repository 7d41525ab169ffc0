//! A containerd that nobody else uses: private root, state and address.

use crate::package::Release;
use crate::pod::Bound;
use crate::{image, package};
use ring::digest::{SHA256, digest};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take: a bound for a machine that stands still, not a measure.
const LONG: Duration = Duration::from_secs(60);

/// A running containerd. What it leaves is looked for in [`Engine::finish`].
#[derive(Debug)]
pub struct Engine {
    programs: PathBuf,
    folder: PathBuf,
    runtimes: PathBuf,
    /// The runtime's type, as containerd has it: it names the program.
    runtime: &'static str,
    daemon: Option<Child>,
    bound: Vec<String>,
    ids: Vec<String>,
}

impl Engine {
    /// Starts one, with an image in it; None where there is none to be had, which has been said.
    ///
    /// `cache` is where packages are kept, `runtimes` the folder with the runtime's program.
    #[must_use]
    pub fn start(
        cache: &Path,
        runtimes: &Path,
        runtime: &'static str,
        release: Release,
    ) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let programs = package::containerd(cache, release)?;
        // Short: addresses of sockets have 107 bytes.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("casemate-containerd-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder for the test");
        let (runtimes, bound, ids) = (runtimes.to_owned(), Vec::new(), Vec::new());
        let mut engine = Self { programs, folder, runtimes, runtime, daemon: None, bound, ids };
        engine.begin();
        let archive = engine.folder.join("image.tar");
        if image::write(&archive).is_none() {
            eprintln!("SKIPPED: no /bin/busybox here: tests with containerd prove nothing");
            return None;
        }
        let archive = archive.display().to_string();
        engine.good(&["image", "import", &archive]);
        Some(engine)
    }

    fn begin(&mut self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("c.sock"),
        );
        fs::write(self.folder.join("config.toml"), config).expect("the test's folder");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("the test's folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let daemon = Command::new(self.programs.join("containerd"))
            .args(["--config", &at("config.toml")])
            .env("PATH", format!("{}:{path}", self.runtimes.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("containerd");
        self.daemon = Some(daemon);
        self.until("containerd answers", |engine| engine.ctr(&["version"]).status.success());
    }

    /// Ends the daemon, and nothing that it has started.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Starts the daemon again, over what there is.
    pub fn again(&mut self) {
        self.begin();
    }

    /// `ctr` with these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("ctr"));
        command.arg("--address").arg(self.folder.join("c.sock")).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// What `ctr` says.
    #[must_use]
    pub fn ctr(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("ctr")
    }

    /// What `ctr` prints when all is well.
    pub fn good(&self, words: &[&str]) -> String {
        let output = self.ctr(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The words of `ctr run` for a container: flags, what binds it, its id, what it runs.
    pub fn words(&mut self, flags: &[&str], pod: &Bound, id: &str, args: &[String]) -> Vec<String> {
        self.bound.push(pod.host_data.clone());
        self.ids.push(id.to_owned());
        let annotation = format!("casemate.dev/initdata={}", pod.annotation);
        let mut words: Vec<String> = ["run", "--runtime", self.runtime].map(str::to_owned).to_vec();
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.extend(["--annotation".into(), annotation, image::NAME.into(), id.into()]);
        words.extend(args.iter().cloned());
        words
    }

    /// `ctr run` of a container.
    pub fn run(&mut self, flags: &[&str], pod: &Bound, id: &str, args: &[String]) -> Output {
        let words = self.words(flags, pod, id, args);
        self.ctr(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The status of a task as `ctr task ls` has it; empty when there is none.
    #[must_use]
    pub fn status(&self, id: &str) -> String {
        let list = self.good(&["task", "ls"]);
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_owned()
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it does not for a minute.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !holds(self) {
            assert!(Instant::now() < end, "not within a minute: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// containerd's log.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Processes of a pod on this machine: its runtime, which has its id and our address among its
    /// arguments, and the MODEL's, which have its HOST_DATA there.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        let address = self.folder.join("c.sock").display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let ours = line.contains("serve") && line.contains(&address)
                || self.bound.iter().any(|hash| line.contains(hash) && !line.contains("ctr"));
            if ours {
                found.push((pid, line));
            }
        }
        found
    }

    /// What of pods is left on this machine: processes, sockets, mounts.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.processes().into_iter().map(|(pid, line)| format!("{pid} {line}")).collect();
        let address = self.folder.join("c.sock").display().to_string();
        for id in &self.ids {
            let name = digest(&SHA256, format!("{address}/default/{id}").as_bytes());
            let hex: String = name.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let path = Path::new("/run/containerd/s").join(hex);
            left.extend(path.exists().then(|| path.display().to_string()));
            let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
            let own =
                |line: &&str| line.contains("casemate-model/") && line.ends_with(&format!("/{id}"));
            left.extend(sockets.lines().filter(own).map(str::to_owned));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.folder.display().to_string();
        let own = |line: &&str| line.contains(&ours) && line.contains("rootfs");
        left.extend(mounts.lines().filter(own).map(str::to_owned));
        left
    }

    /// Ends everything and checks that nothing is left of any pod.
    ///
    /// # Panics
    /// When something is.
    pub fn finish(mut self) {
        self.until("nothing is left of any pod", |engine| engine.left().is_empty());
        self.stop();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        // What a failed test left: its own processes, by their numbers.
        for (pid, _) in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
