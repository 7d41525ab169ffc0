//! Protects tenants from a manifest that says less than the pod, and from a pod of which something
//! cannot be bound: each such line is refused by its number. Images are layers that were read as a
//! node reads them. Cannot tell what a kubelet makes of a pod beyond what is written here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_image::overlay::{Alone, Stack};
use casemate_image::{Limits, Spool, oci};
use casemate_pod::{Hash, Kind, Layer, Manifest, Source, Stdio};
use casemate_podspec::{Choices, Hashes, Image, Reading, Verdict, read};
use std::collections::BTreeMap;

fn image(config: &str) -> Image {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("app", "#!"),
        ("bin/health", "#!"),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:100:101::/srv:/bin/sh\n"),
        ("etc/group", "log:x:7:app\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap();
    let mut spool = Spool::new(&std::env::temp_dir(), 1 << 20).unwrap();
    let alone = Alone::read(&bytes[..], None, Limits::default(), &mut spool).unwrap();
    let hash = Hash(alone.diff_id());
    let mut stack = Stack::default();
    stack.push(alone).unwrap();
    let process: oci::Process = serde_json::from_str(config).unwrap();
    let layers = vec![Layer { diff_id: hash, root: Hash([7; 32]), blocks: 3 }];
    Image::new(layers, process, stack, &spool).unwrap()
}

const CONFIG: &str = r#"{"User":"app:7","Env":["PATH=/bin","A=image"],"Entrypoint":["/app"],
                        "Cmd":["serve"],"WorkingDir":"/srv/","StopSignal":"SIGINT"}"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  runtimeClassName: casemate
  enableServiceLinks: false
  automountServiceAccountToken: false
  restartPolicy: Never
  securityContext:
    supplementalGroups: [44]
  initContainers:
    - name: first
      image: app:1
      command: ["/bin/health", "$(WHO)"]
      env:
        - name: WHO
          value: me
  containers:
    - name: web
      image: app:1
      args: ["--port", "80"]
      env:
        - name: A
          value: "pod"
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        - name: NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: LEVEL
          valueFrom: {configMapKeyRef: {name: settings, key: level}}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
      resources:
        limits: {memory: 128Mi, cpu: "1"}
      livenessProbe:
        exec: {command: ["/bin/health"]}
      volumeMounts:
        - {name: config, mountPath: /etc/app}
        - {name: work, mountPath: /work}
  volumes:
    - name: config
      configMap: {name: settings}
    - name: work
      emptyDir: {sizeLimit: 1Gi}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {level: "info"}
"#;

fn of(pod: &str, choices: &str) -> Reading {
    let images = BTreeMap::from([("app:1".to_owned(), image(CONFIG))]);
    let choices = Choices::read(choices).unwrap();
    read(pod, &images, &choices, &BTreeMap::new()).unwrap()
}

fn refused(reading: &Reading) -> Vec<(usize, String)> {
    let refused = reading.findings.iter().filter(|one| one.verdict == Verdict::Refused);
    refused.map(|one| (one.line, format!("{}: {}", one.field, one.why))).collect()
}

fn manifest(pod: &str, choices: &str) -> Manifest {
    let reading = of(pod, choices);
    assert_eq!(refused(&reading), []);
    reading.manifest.unwrap()
}

#[test]
fn a_pod_and_its_image_come_to_what_a_kubelet_would_run() {
    let manifest = manifest(POD, "[container.web]\nstdio = \"out\"\n");
    assert_eq!(manifest.layers.len(), 1, "two containers of one image share its layers");
    let [first, web] = &manifest.containers[..] else { panic!("{manifest:?}") };
    assert_eq!((first.kind, web.kind), (Kind::Init, Kind::Main));
    // `command` replaces the image's entrypoint and command, `args` the command alone.
    assert_eq!(first.args, ["/bin/health", "me"]);
    assert_eq!(web.args, ["/app", "--port", "80"]);
    assert_eq!(web.cwd, "/srv");
    // Of the image's user the kubelet takes the name alone: the group is that of its entry.
    assert_eq!((web.user.uid, web.user.gid), (100, 101));
    assert_eq!(web.user.groups, [7, 44]);
    let env = ["PATH=/bin", "A=pod", "NAMESPACE=shop", "LEVEL=info", "HOME=/srv", "HOSTNAME=web"];
    assert_eq!(web.env, env);
    let open: Vec<String> = web.env_open.iter().map(ToString::to_string).collect();
    assert_eq!(open, ["POD_IP:ip"]);
    assert_eq!(web.caps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["NET_BIND_SERVICE"]);
    assert_eq!(first.caps.len(), 14);
    assert!(!web.new_privileges && first.new_privileges && !web.restart);
    assert_eq!(
        (web.root.to_string(), first.root.to_string()),
        ("read-only".into(), "memory:64".into())
    );
    assert_eq!((web.stdio, first.stdio), (Stdio::Out, Stdio::None));
    assert_eq!(web.exec, [["/bin/health"]]);
    assert_eq!(web.signals.iter().map(ToString::to_string).collect::<Vec<_>>(), ["INT", "KILL"]);
    let [config, work] = &manifest.volumes[..] else { panic!("{manifest:?}") };
    let Source::HostFiles(files) = &config.source else { panic!("{config:?}") };
    // `printf info | sha256sum`.
    let hash = "06271baf49532c879aa3c58b48671884bcc858f09197412d682750496c33e1e1";
    assert_eq!(files.hashes, Hashes::from([("level".to_owned(), hash.parse().unwrap())]));
    assert!(config.mounts[0].read_only, "what cannot be written to is mounted so");
    assert_eq!(work.source, Source::Scratch { size: casemate_pod::Mebibytes::new(1024).unwrap() });
    assert_eq!(manifest.pod.hostname.as_deref(), Some("web"));
}

/// Where the line stands that has this text.
fn line_of(pod: &str, text: &str) -> usize {
    1 + pod.lines().position(|line| line.contains(text)).unwrap()
}

/// Protects from a pod that says more than its manifest: whatever is not known is refused, at its
/// line.
#[test]
fn what_cannot_be_bound_is_refused_with_its_line() {
    for (from, to) in [
        ("  restartPolicy: Never", "  restartPolicy: Never\n  hostNetwork: true"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  hostPID: true"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  hostIPC: true"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  shareProcessNamespace: true"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  ephemeralContainers: [{name: x}]"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  resourceClaims: [{name: gpu}]"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  novelty: true"),
        ("  restartPolicy: Never", "  restartPolicy: Sometimes"),
        ("enableServiceLinks: false", "enableServiceLinks: true"),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: true"),
        ("runtimeClassName: casemate", "runtimeClassName: runc"),
        ("    supplementalGroups: [44]", "    sysctls: [{name: a, value: b}]"),
        ("    supplementalGroups: [44]", "    seLinuxOptions: {level: s0}"),
        ("    supplementalGroups: [44]", "    seccompProfile: {type: Localhost}"),
        ("        readOnlyRootFilesystem: true", "        privileged: true"),
        ("        readOnlyRootFilesystem: true", "        runAsUser: nobody"),
        ("        readOnlyRootFilesystem: true", "        runAsUser: 0100"),
        ("add: [NET_BIND_SERVICE]", "add: [SYS_ADMIN]"),
        ("drop: [ALL]", "drop: [EVERYTHING]"),
        ("exec: {command: [\"/bin/health\"]}", "exec: {command: [\"$(A)\"]}"),
        ("exec: {command: [\"/bin/health\"]}", "exec: {command: [\"/bin/health\"], as: root}"),
        ("    - name: web\n", "    - name: web\n      lifecycle: {stopSignal: SIGUSR1}\n"),
        ("  restartPolicy: Never", "  restartPolicy: Never\n  hostname: Not_A_Label"),
        ("image: app:1\n      args", "image: app:2\n      args"),
        ("limits: {memory: 128Mi, cpu: \"1\"}", "limits: {nvidia.com/gpu: 1}"),
        ("value: \"pod\"", "value: 1"),
        ("value: \"pod\"", "value: $(OTHER)"),
        ("{fieldRef: {fieldPath: status.podIP}}", "{fieldRef: {fieldPath: status.phase}}"),
        ("{fieldRef: {fieldPath: status.podIP}}", "{secretKeyRef: {name: a, key: b}}"),
        ("name: settings, key: level", "name: settings, key: other"),
        ("mountPath: /work}", "mountPath: /work, subPath: a}"),
        ("mountPath: /work}", "mountPath: /work, mountPropagation: Bidirectional}"),
        ("      configMap: {name: settings}", "      configMap: {name: other}"),
        ("      configMap: {name: settings}", "      secret: {secretName: a}"),
        ("      configMap: {name: settings}", "      hostPath: {path: /}"),
        ("      configMap: {name: settings}", "      nfs: {server: a, path: /}"),
        ("      configMap: {name: settings}", "      persistentVolumeClaim: {claimName: a}"),
        ("      emptyDir: {sizeLimit: 1Gi}", "      emptyDir: {medium: HugePages}"),
        ("      emptyDir: {sizeLimit: 1Gi}", "      emptyDir: {sizeLimit: 1Gi, owner: 7}"),
        ("configMap: {name: settings}", "configMap: {name: settings, defaultMode: 0400}"),
        ("configMap: {name: settings}", "configMap: {name: settings, defaultMode: all}"),
        ("    - name: web\n", "    - name: web\n      envFrom: []\n"),
        ("    - name: web\n", "    - name: web\n      tty: true\n"),
    ] {
        assert!(POD.contains(from), "{from}");
        let pod = POD.replacen(from, to, 1);
        let reading = of(&pod, "");
        assert!(reading.manifest.is_none(), "{to}");
        let refused = refused(&reading);
        let last = to.lines().last().unwrap();
        let line = line_of(&pod, last);
        // The line itself, or for what a container lacks the container's.
        let near = |(at, _): &&(usize, String)| *at + 2 >= line && *at <= line + 1;
        assert!(refused.iter().find(near).is_some(), "{to} in line {line}: {refused:?}");
        let all = refused.iter().all(|(at, _)| *at == 0 || near(&&(*at, String::new())));
        assert!(all, "{to}: nothing else is: {refused:?}");
    }
    for missing in ["enableServiceLinks: false", "runtimeClassName: casemate"] {
        let reading = of(&POD.replacen(missing, "", 1), "");
        assert_eq!(refused(&reading).len(), 1, "{missing}");
    }
}

#[test]
fn choices_open_what_a_tenant_wants_open_and_nothing_that_is_not_there() {
    let secrets = "[broker]\nkeys = [\"ab\"]\n[secrets]\n\"db.key\" = \"acme/db/key\"\n\
                   [volume.keys]\nsecrets = [\"db.key\"]\nmounts = [\"web:/run/keys\"]\n";
    let bound = manifest(POD, &format!("[pod]\nsecrets_after = [\"first\"]\n{secrets}"));
    assert_eq!(bound.secrets().into_iter().collect::<Vec<_>>(), ["db.key"]);
    let open = "[pod]\nopen_services = true\nvcpus = [1, 4]\n[volume.config]\nopen_kib = 16\n\
                [container.web]\nexec = [[\"/bin/sh\"]]\nsignals = [\"TERM\"]\n";
    let open = manifest(POD, open);
    assert!(open.pod.services);
    assert_eq!(open.pod.vcpus, [1, 4]);
    assert_eq!(open.volumes[0].source, Source::OpenFiles { kib: 16 });
    assert_eq!(open.containers[1].exec.len(), 2);
    for wrong in [
        "[container.www]\nstdio = \"out\"",
        "[volume.other]\nopen_kib = 1",
        "[container.web]\nstdio = \"all\"",
        "[container.web]\nroot = \"memory:1\"",
        "[secrets]\n\"a\" = \"b/c/d\"",
        "[volume.keys]\nsecrets = [\"a\"]\nmounts = [\"web:/k\"]",
        "[volume.work]\nmemory_mib = 1\nscratch_mib = 1",
        // Words that say nothing of such a volume.
        "[volume.work]\nkey = \"db.key\"",
        "[volume.work]\nopen_kib = 1",
        "[volume.config]\nmemory_mib = 1",
        "[volume.config]\nopen_kib = 1\nexecutable = true",
        "[volume.config]\nmounts = [\"web:/k\"]",
    ] {
        assert!(!refused(&of(POD, wrong)).is_empty(), "{wrong}");
    }
    assert!(Choices::read("novel = 1").unwrap_err().contains("line 1"));
}

/// Protects from rights that a pod takes away and keeps, in whatever case engines take the word.
#[test]
fn capabilities_are_taken_away_in_any_case_of_letters() {
    for word in ["ALL", "all", "All"] {
        let pod = POD.replace("drop: [ALL]", &format!("drop: [{word}]"));
        let caps = &manifest(&pod, "").containers[1].caps;
        assert_eq!(caps.iter().map(|cap| cap.name()).collect::<Vec<_>>(), ["NET_BIND_SERVICE"]);
    }
    let pod = POD.replace("drop: [ALL]", "drop: [cap_net_raw, SYS_PTRACE]");
    let caps = &manifest(&pod, "").containers[1].caps;
    assert!(caps.len() == 13 && caps.iter().all(|cap| cap.name() != "NET_RAW"), "{caps:?}");
}

/// Protects from the map that counts being another than the one that is read here.
#[test]
fn a_config_map_is_there_once_and_in_the_pods_namespace() {
    let map = |namespace: &str| {
        format!("---\nkind: ConfigMap\nmetadata: {{name: extra{namespace}}}\ndata: {{a: b}}\n")
    };
    for (maps, why) in [
        (map("").repeat(2), "is there twice"),
        (map(", namespace: other"), "is in another namespace than the pod"),
    ] {
        let found = of(&format!("{POD}{maps}"), "").findings;
        assert!(found.iter().any(|one| one.why == why), "{why}");
    }
    let found = of(&format!("{POD}{}", map(", namespace: shop")), "").findings;
    assert!(found.iter().all(|one| one.verdict != Verdict::Refused), "{found:?}");
}

/// Protects from hashes of files that nobody gives: those that the tenant named are used.
#[test]
fn files_that_a_tenant_names_are_bound_by_their_hashes() {
    let images = BTreeMap::from([("app:1".to_owned(), image(CONFIG))]);
    let hashes = Hashes::from([("a".to_owned(), Hash([1; 32]))]);
    let files = BTreeMap::from([("config".to_owned(), hashes.clone())]);
    let pod = POD.replace("configMap: {name: settings}", "secret: {secretName: x}");
    let reading = read(&pod, &images, &Choices::default(), &files).unwrap();
    let manifest = reading.manifest.unwrap();
    let Source::HostFiles(files) = &manifest.volumes[0].source else { panic!() };
    assert_eq!(files.hashes, hashes);
}

#[test]
fn yaml_that_is_longer_than_it_looks_or_has_two_readings_is_refused_at_its_line() {
    let images = BTreeMap::new();
    let line = |text: &str| {
        let read = read(text, &images, &Choices::default(), &BTreeMap::new());
        read.unwrap_err().line
    };
    assert_eq!(line("kind: Pod\na: &x [1]\nb: *x\n"), 2);
    assert_eq!(line("kind: Pod\na: !!binary x\n"), 2);
    assert_eq!(line("kind: Pod\nkind: Pod\n"), 2);
    assert_eq!(line("kind: Pod\n<<: {a: b}\n"), 2);
    assert_eq!(line("kind: Pod\n? [a]\n: b\n"), 2);
    assert_eq!(line(&format!("a: {}{}", "[".repeat(64), "]".repeat(64))), 1);
    assert_eq!(line(&"- a\n".repeat(70_000)), 65_537);
    assert_eq!(line("kind: Deployment\n"), 1);
    assert_eq!(line("kind: Pod\n---\nkind: Pod\n"), 1);
    assert_eq!(line("a: [b\n"), 2);
    assert_eq!(line(""), 1);
}

/// The issue's bound, with images that share nothing.
#[test]
fn a_manifest_of_five_containers_has_at_most_8_kib() {
    let mut pod = POD.split("  containers:").next().unwrap().replace("  initContainers", "  x");
    pod = pod.split("  x:").next().unwrap().to_owned() + "  containers:\n";
    let mut images = BTreeMap::new();
    for number in 0..5_u8 {
        let name = format!("app:{number}");
        pod += &format!(
            "    - name: c{number}\n      image: {name}\n      args: [\"--listen\", \
             \"0.0.0.0:80{number}\"]\n      env: [{{name: LEVEL, value: info}}]\n"
        );
        let mut image = image(CONFIG);
        let layer = |n: u8| Layer { diff_id: Hash([n; 32]), root: Hash([n; 32]), blocks: 4000 };
        image.layers = (0..6).map(|n| layer(number * 6 + n)).collect();
        images.insert(name, image);
    }
    let reading = read(&pod, &images, &Choices::default(), &BTreeMap::new()).unwrap();
    assert_eq!(refused(&reading), []);
    let text = reading.manifest.unwrap().text().unwrap();
    assert!(text.len() <= 8 * 1024, "{}", text.len());
}
