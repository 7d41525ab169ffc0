//! Page states on a KVM with private memory: the hypervisor's own test program in the virtual
//! hosts.

use casemate_e2e::run_test_program;
use casemate_test_host::Kind;

const PROGRAM: &str = "page_states_on_kvm";

#[test]
fn ten_thousand_conversions_in_a_software_protected_vm_are_as_the_model_has_them() {
    let output = run_test_program(Kind::Protected, PROGRAM, "");
    assert!(output.contains("10000 conversions"), "{output}");
}

#[test]
fn a_memory_fault_of_an_snp_guest_converts_one_page_in_the_virtual_snp_host() {
    let output = run_test_program(Kind::Snp, PROGRAM, "");
    assert!(output.contains("10000 conversions"), "{output}");
    assert!(output.contains("a memory fault converted one page"), "{output}");
}
