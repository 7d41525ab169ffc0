//! The pod as a whole.

use crate::choices::Choices;
use crate::finding::{Finding, Findings, Verdict};
use crate::image::Image;
use crate::reader::{Memory, Reader};
use crate::yaml::{self, Value, YamlError};
use crate::{Hashes, container, security, volume};
use casemate_pod::{Container, Kind, Manifest, Pod, Root, Source, is_label};
use std::collections::BTreeMap;

/// What the runtime class must be: any other runs the pod as an ordinary one.
const RUNTIME_CLASS: &str = "casemate";
/// What a guest needs for itself: kernel, PID 1, tables. Shown as part of a sum.
const OWN_MEMORY: u64 = 96;

/// Fields of `spec` from which nothing in the guest follows.
const OUTSIDE: [&str; 21] = [
    "activeDeadlineSeconds",
    "affinity",
    "hostUsers",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resources",
    "schedulerName",
    "schedulingGates",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
];

/// A pod that was read.
#[derive(Debug)]
pub struct Reading {
    /// What was found, in the order of the pod.
    pub findings: Vec<Finding>,
    /// The manifest, when nothing was refused.
    pub manifest: Option<Manifest>,
    /// What of the guest's memory is spoken for.
    pub memory: Vec<Memory>,
    /// The pod's name.
    pub name: String,
}

/// Reads the pod of a text, with the images that its containers name.
///
/// # Errors
/// [`YamlError`] for a text that cannot be read at all. What cannot be bound is among the findings.
pub fn read(
    text: &str,
    images: &BTreeMap<String, Image>,
    choices: &Choices,
    files: &BTreeMap<String, Hashes>,
) -> Result<Reading, YamlError> {
    let documents = yaml::read(text)?;
    let of = |kind: &str| {
        let is = |one: &&Value| one.get("kind").and_then(Value::text) == Some(kind);
        documents.iter().filter(is).collect::<Vec<_>>()
    };
    let [pod] = of("Pod")[..] else {
        let line = documents.first().map_or(1, |one| one.line);
        let why = "a text with one document of kind Pod is read, and documents of kind ConfigMap \
                   beside it";
        return Err(YamlError { line, why: why.into() });
    };
    let mut reader = Reader {
        findings: Findings::default(),
        choices,
        images,
        files,
        maps: BTreeMap::new(),
        name: None,
        namespace: None,
        hostname: None,
        layers: Vec::new(),
        memory: Vec::new(),
    };
    for document in &documents {
        match document.get("kind").and_then(Value::text) {
            Some("ConfigMap") => reader.config_map(document, pod),
            Some("Pod") => {}
            _ => reader.findings.refuse(document.line, "kind", "is neither Pod nor ConfigMap"),
        }
    }
    let manifest = reader.pod(pod);
    reader.unused();
    let refused = reader.findings.0.iter().any(|one| one.verdict == Verdict::Refused);
    let manifest = manifest.filter(|_| !refused).and_then(|manifest| match manifest.text() {
        Ok(_) => Some(manifest),
        Err(error) => {
            reader.findings.refuse(pod.line, "spec", error.to_string());
            None
        }
    });
    let name = reader.name.clone().unwrap_or_default();
    let memory = reader.memory;
    Ok(Reading { findings: reader.findings.0, manifest, memory, name })
}

impl Reader<'_> {
    fn config_map(&mut self, map: &Value, pod: &Value) {
        let known = ["apiVersion", "kind", "metadata", "data", "binaryData", "immutable"];
        self.only(map, "ConfigMap", &known);
        let name = map.get("metadata").and_then(|meta| meta.get("name")).and_then(Value::text);
        let Some(name) = name else {
            self.findings.refuse(map.line, "ConfigMap", "has no name");
            return;
        };
        let field = format!("ConfigMap[{name}]");
        let mut texts = BTreeMap::new();
        if let Some(data) = map.get("data") {
            for (key, value) in self.entries(data, &field) {
                if let Some(text) = self.text(value, &format!("{field}.{}", key.name)) {
                    texts.insert(key.name.clone(), text);
                }
            }
        }
        if let Some(binary) = map.get("binaryData") {
            let why = "is not read here; give its files with the choice `files` of the volume";
            self.findings.refuse(binary.line, &field, why);
        }
        fn namespace(of: &Value) -> Option<&str> {
            of.get("metadata")?.get("namespace")?.text()
        }
        if let (Some(its), Some(pods)) = (namespace(map), namespace(pod))
            && its != pods
        {
            self.findings.refuse(map.line, &field, "is in another namespace than the pod");
        }
        self.findings.bound(map.line, &field, "where it is used");
        if self.maps.insert(name.to_owned(), texts).is_some() {
            self.findings.refuse(map.line, &field, "is there twice");
        }
    }

    fn pod(&mut self, pod: &Value) -> Option<Manifest> {
        let entries = self.entries(pod, "pod");
        let mut spec = None;
        for (key, value) in entries {
            match key.name.as_str() {
                "apiVersion" => {
                    if value.text() != Some("v1") {
                        self.findings.refuse(key.line, "apiVersion", "is not v1");
                    }
                }
                "kind" => {}
                "metadata" => self.metadata(value),
                "spec" => spec = Some(value),
                "status" => self.findings.outside(key.line, "status", "is what a cluster wrote"),
                other => self.findings.refuse(key.line, other, "is not known here"),
            }
        }
        let Some(spec) = spec else {
            self.findings.refuse(pod.line, "spec", "is missing");
            return None;
        };
        self.spec(spec)
    }

    fn metadata(&mut self, meta: &Value) {
        for (key, value) in self.entries(meta, "metadata") {
            let field = format!("metadata.{}", key.name);
            match key.name.as_str() {
                "name" => self.name = self.text(value, &field),
                "namespace" => self.namespace = self.text(value, &field),
                "annotations" => {
                    for (key, _) in self.entries(value, &field) {
                        let field = format!("{field}[{}]", key.name);
                        let why = "is for the host and the cluster";
                        self.findings.outside(key.line, &field, why);
                    }
                    continue;
                }
                _ => {}
            }
            let why = match key.name.as_str() {
                "name" => "is the host's to write; where a program sees it, it is bound below",
                _ => "is for the cluster",
            };
            self.findings.outside(key.line, &field, why);
        }
    }

    fn spec(&mut self, spec: &Value) -> Option<Manifest> {
        self.identity(spec);
        let security = security::of_pod(self, spec);
        let mut containers = Vec::new();
        let restart = self.restart(spec);
        for (key, kind) in [("initContainers", Kind::Init), ("containers", Kind::Main)] {
            let Some(value) = spec.get(key) else { continue };
            for one in self.list(value, key) {
                let made = container::read(self, one, kind, restart, &security);
                containers.extend(made);
            }
        }
        let volumes = volume::read(self, spec, &containers);
        let dns = self.dns(spec);
        let hosts = self.hosts(spec);
        let services = self.services(spec);
        for (key, value) in self.entries(spec, "spec") {
            self.rest(key, value);
        }
        self.sum(&containers, &volumes);
        let vcpus = match &self.choices.pod.vcpus[..] {
            [] => vec![1],
            vcpus => vcpus.to_vec(),
        };
        let pod = Pod {
            hostname: self.hostname.clone(),
            dns,
            hosts,
            net: true,
            services,
            vcpus,
            secrets_after: self.choices.pod.secrets_after.clone(),
        };
        let layers = std::mem::take(&mut self.layers);
        self.secrets(&volumes);
        Some(Manifest { layers, pod, containers, volumes })
    }

    /// The hostname, which is the pod's where the spec has none.
    fn identity(&mut self, spec: &Value) {
        let (line, field) = match spec.get("hostname") {
            Some(value) => (value.line, "spec.hostname"),
            None => (spec.line, "metadata.name"),
        };
        let written = spec.get("hostname").and_then(Value::text).map(str::to_owned);
        if spec.get("hostname").is_some() && !written.as_deref().is_some_and(is_label) {
            self.findings.refuse(line, field, "is no label of DNS");
        }
        // Longer names are cut by the kubelet; that is left to the host, as is a generated name.
        self.hostname = written.or_else(|| self.name.clone()).filter(|name| is_label(name));
        match self.hostname.clone() {
            Some(_) => self.findings.bound(line, field, "is the guest's hostname"),
            None => {
                let why = "the host chooses the hostname: a label of DNS";
                self.findings.open(line, field, why);
            }
        }
        match spec.get("runtimeClassName").and_then(Value::text) {
            Some(RUNTIME_CLASS) => {}
            _ => {
                let why = "is not casemate: such a pod runs as an ordinary one, and nothing of it \
                           is bound";
                let line = spec.get("runtimeClassName").map_or(spec.line, |value| value.line);
                self.findings.refuse(line, "spec.runtimeClassName", why);
            }
        }
    }

    fn restart(&mut self, spec: &Value) -> bool {
        let value = spec.get("restartPolicy");
        let word = value.map_or(Some("Always"), Value::text);
        let line = value.map_or(0, |value| value.line);
        match word {
            Some("Always" | "OnFailure") => {
                let why = "containers may be started again; when and how often is the host's";
                self.findings.bound(line, "spec.restartPolicy", why);
                true
            }
            Some("Never") => {
                let why = "no container is started twice";
                self.findings.bound(line, "spec.restartPolicy", why);
                false
            }
            _ => {
                let why = "is none of Always, OnFailure and Never";
                self.findings.refuse(line, "spec.restartPolicy", why);
                false
            }
        }
    }

    /// What was not looked at before.
    fn rest(&mut self, key: &yaml::Key, value: &Value) {
        let field = format!("spec.{}", key.name);
        let why = match key.name.as_str() {
            "containers" | "initContainers" | "volumes" | "dnsPolicy" | "dnsConfig"
            | "hostAliases" | "restartPolicy" | "enableServiceLinks" => return,
            "runtimeClassName" => {
                let why = "is the host's word; that the guest is one is proven by its report";
                return self.findings.outside(key.line, &field, why);
            }
            "hostNetwork" | "hostPID" | "hostIPC" => {
                if !self.flag(value, &field) {
                    return self.findings.bound(key.line, &field, "a guest has its own");
                }
                "cannot be: a guest has a network, processes and memory of its own"
            }
            "shareProcessNamespace" => {
                if !self.flag(value, &field) {
                    return self.findings.bound(key.line, &field, "each container has its own");
                }
                "is not offered: each container sees its own processes only"
            }
            "ephemeralContainers" => {
                "cannot be bound: they are added to a pod that runs (`kubectl debug`)"
            }
            "resourceClaims" => "cannot be bound: they are devices of the host",
            "automountServiceAccountToken" => return self.token(key.line, value),
            "setHostnameAsFQDN" if self.flag(value, &field) => {
                "is not offered: the hostname is a label"
            }
            "os" if value.get("name").and_then(Value::text) != Some("linux") => {
                "is not linux, and guests are"
            }
            "subdomain" => {
                let why = "the name in DNS is the host's";
                return self.findings.open(key.line, &field, why);
            }
            "hostname" | "securityContext" => return,
            name if OUTSIDE.contains(&name) => {
                let why = "is for the cluster; nothing in the guest follows from it";
                return self.findings.outside(key.line, &field, why);
            }
            _ => "is not known here, so it cannot be said what would follow from it",
        };
        self.findings.refuse(key.line, &field, why);
    }

    fn token(&mut self, line: usize, value: &Value) {
        let field = "spec.automountServiceAccountToken";
        match value.flag() {
            Some(false) => self.findings.bound(line, field, "no token is mounted"),
            // `unused` says the rest.
            _ if self.choices.pod.open_service_account_token => {}
            _ => {
                let why = "must be false: the token is the host's to choose; or choose \
                           open_service_account_token";
                self.findings.refuse(line, field, why);
            }
        }
    }

    /// Secrets have a broker, and every name that is used a name there.
    fn secrets(&mut self, volumes: &[casemate_pod::Volume]) {
        let mut names: Vec<&str> = volumes.iter().flat_map(|one| one.source.secrets()).collect();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            if !self.choices.secrets.contains_key(*name) {
                let why = "is used, and [secrets] of the choices does not say what it is there";
                self.findings.refuse(0, &format!("secret {name}"), why);
            }
        }
        let choices = self.choices;
        for name in choices.secrets.keys().filter(|name| !names.contains(&name.as_str())) {
            self.findings.refuse(0, &format!("secret {name}"), "is used by no volume");
        }
        if !names.is_empty() && self.choices.broker.is_none() {
            let why = "is missing in the choices: nobody could be asked for the secrets";
            self.findings.refuse(0, "broker", why);
        }
    }

    /// Choices for what is not there are mistakes.
    fn unused(&mut self) {
        let known = |field: &str, name: &str| {
            let end = format!("{field}[{name}]");
            self.findings.0.iter().any(|finding| finding.field.starts_with(&end))
        };
        let missing: Vec<String> = (self.choices.container.keys())
            .filter(|name| !known("containers", name) && !known("initContainers", name))
            .map(|name| format!("container.{name}"))
            .collect();
        for name in missing {
            self.findings.refuse(0, &name, "is chosen for, and the pod has no such container");
        }
        if self.choices.pod.open_service_account_token {
            let why = "a token of the cluster's, at its usual path, which the host chooses";
            self.findings.open(0, "spec.serviceAccountName", why);
        }
    }

    fn sum(&mut self, containers: &[Container], volumes: &[casemate_pod::Volume]) {
        let own = Memory { what: "kernel and PID 1".into(), mebibytes: Some(OWN_MEMORY) };
        self.memory.insert(0, own);
        let mut add = |what: String, mebibytes: u32| {
            self.memory.push(Memory { what, mebibytes: Some(mebibytes.into()) });
        };
        for container in containers {
            if let Root::Memory(size) = container.root {
                add(format!("what container {} writes over its image", container.name), size.get());
            }
            for tmpfs in &container.tmpfs {
                add(format!("{} of container {}", tmpfs.path, container.name), tmpfs.size.get());
            }
        }
        for volume in volumes {
            match &volume.source {
                Source::Memory { size } => add(format!("volume {}", volume.name), size.get()),
                Source::OpenFiles { kib } => {
                    add(format!("volume {}", volume.name), kib.div_ceil(1024));
                }
                _ => {}
            }
        }
    }
}
