//! The bodies of Casemate's fuzz targets.
//!
//! A target `fuzz/fuzz_targets/NAME.rs` is one call of a body here, so that the same code is fuzzed
//! on nightly and replays its corpus on stable (`tests/replay.rs`). A body panics when one of its
//! oracles is broken: beyond "no crash", every request gets one legal answer, allocation is
//! bounded, and nothing outside the named range changes.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "an oracle that breaks must panic"
)]

pub mod agent;
pub mod attest;
pub mod azure;
pub mod boot;
pub mod broker_client;
pub mod console;
pub mod device;
pub mod device_answers;
pub mod device_block;
pub mod device_console;
pub mod device_messages;
pub mod device_model;
pub mod device_net;
pub mod device_pci_root;
pub mod device_rng;
pub mod device_vsock;
pub mod device_words;
pub mod devices;
#[cfg(test)]
mod drawn;
pub mod exits;
pub mod front;
pub mod host;
pub mod image;
pub mod kbs;
pub mod keeper;
pub mod launch;
pub mod pod;
pub mod policy;
pub mod policy_log;
pub mod relay;
pub mod result;
pub mod run_bytes;
pub mod runtime;
pub mod sandbox;
pub mod shifting;
pub mod store;
pub mod vm;
pub mod world;

/// Runs `body`, which may hold `limit` bytes of memory at once and no more.
pub(crate) fn bounded(limit: u64, body: impl FnOnce()) {
    let used = allocation_counter::measure(body);
    assert!(used.bytes_max <= limit, "{} bytes at once, {limit} allowed", used.bytes_max);
}

/// A target's body.
pub type Body = fn(&[u8]);

/// Every target of this file's crate by name: what `tests/replay.rs` replays.
pub const TARGETS: &[(&str, Body)] = &[
    ("agent_to_guest", agent::to_guest),
    ("agent_to_host", agent::to_host),
    ("attest_azure", azure::evidence),
    ("attest_bundle", attest::bundle),
    ("attest_cert_table", attest::cert_table),
    ("attest_claims", azure::claims),
    ("attest_crl", attest::crl),
    ("attest_document", azure::document),
    ("attest_extended", attest::extended),
    ("attest_gosev", attest::gosev),
    ("attest_guest_message", attest::guest_message),
    ("attest_hcl", attest::hcl),
    ("attest_id_block", attest::id_block),
    ("attest_igvm", attest::igvm),
    ("attest_json", attest::json),
    ("attest_ovmf", attest::ovmf),
    ("attest_quote", azure::quote),
    ("attest_report", attest::report),
    ("attest_store", attest::store),
    ("attest_x509", attest::x509),
    ("console_filter", vm::console_filter),
    ("console_pump", console::pump),
    ("console_queue", vm::console_queue),
    ("device_answers", device_answers::answers),
    ("device_block", device_block::block),
    ("device_console", device_console::console),
    ("device_messages", device_messages::messages),
    ("device_msix", device::msix),
    ("device_net", device_net::net),
    ("device_pci_config", device::pci_config),
    ("device_pci_root", device_pci_root::pci_root),
    ("device_queue", devices::queue),
    ("device_rng", device_rng::rng),
    ("device_transport", device::transport),
    ("device_vsock", device_vsock::vsock),
    ("device_words", device_words::words),
    ("exit_debug", exits::debug),
    ("exit_errno", exits::errno),
    ("exit_fail_entry", exits::fail_entry),
    ("exit_hlt", exits::hlt),
    ("exit_hypercall", exits::hypercall),
    ("exit_internal_error", exits::internal_error),
    ("exit_intr", exits::intr),
    ("exit_io_in", exits::io_in),
    ("exit_io_out", exits::io_out),
    ("exit_ioapic_eoi", exits::ioapic_eoi),
    ("exit_memory_fault", exits::memory_fault),
    ("exit_mmio_read", exits::mmio_read),
    ("exit_mmio_write", exits::mmio_write),
    ("exit_rdmsr", exits::rdmsr),
    ("exit_req_certs", exits::req_certs),
    ("exit_shutdown", exits::shutdown),
    ("exit_system_event", exits::system_event),
    ("exit_unknown", exits::unknown),
    ("exit_wrmsr", exits::wrmsr),
    ("foreign_text", azure::foreign_text),
    ("host_cgroup_text", host::cgroup_text),
    ("kbs_store", store::file),
    ("kbs_answers", kbs::answers),
    ("kbs_guest_answer", broker_client::answer),
    ("kbs_guest_session", broker_client::session),
    ("kbs_attestation", kbs::attestation),
    ("kbs_broker", kbs::broker),
    ("kbs_config", keeper::config),
    ("kbs_front_plan", front::plan),
    ("kbs_headers", kbs::headers),
    ("kbs_http", front::http),
    ("kbs_identity", keeper::identity),
    ("kbs_initdata", kbs::initdata),
    ("kbs_keeper_plan", keeper::plan),
    ("kbs_owner", keeper::owner),
    ("kbs_path", kbs::path),
    ("kbs_relay", relay::relay),
    ("kbs_request", kbs::request),
    ("kbs_session", kbs::session),
    ("kvm_run_raw", exits::kvm_run_raw),
    ("launch_cpuid_page", launch::cpuid_page),
    ("launch_kernel", launch::kernel),
    ("launch_page_states", launch::page_states),
    ("launch_page_states_at_once", launch::page_states_at_once),
    ("launch_plan", launch::plan),
    ("boot_bzimage", boot::bzimage),
    ("boot_elf", boot::elf),
    ("boot_params", boot::params),
    ("pod_manifest", pod::manifest),
    ("pod_yaml", pod::yaml),
    ("policy_cases", policy::cases),
    ("policy_cmdline", policy::cmdline),
    ("policy_compare", policy::compare),
    ("policy_document", policy::document),
    ("policy_input", policy::input),
    ("policy_log", policy::log),
    ("policy_log_open", policy_log::open),
    ("result_sealed", result::sealed),
    ("runtime_calls", runtime::calls),
    ("sandbox_packet", sandbox::packet),
    ("image_archive", image::archive),
    ("image_layer", image::layer),
    ("image_manifest", image::manifest),
    ("image_module", image::module),
    ("image_overlay", image::overlay),
    ("image_package", image::package),
    ("init_workload", host::workload_file),
    ("vm_config", vm::config),
    ("vm_management", vm::management),
    ("vm_message", vm::message),
    ("vm_name_answer", vm::name_answer),
];
