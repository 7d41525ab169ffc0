//! `casemate policy`: write, check, ask, compare and test policies.

use super::{Outcome, policy_ask, policy_audit, policy_compare, policy_write};
use clap::{Args, Subcommand};

/// Write, check, ask, compare and test isolation policies
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(policy_audit::CheckArgs),
    Lint(policy_audit::LintArgs),
    Test(policy_audit::TestArgs),
    Eval(policy_ask::EvalArgs),
    Explain(policy_ask::ExplainArgs),
    WhyNot(policy_ask::WhyNotArgs),
    Diff(policy_compare::DiffArgs),
    Merge(policy_compare::MergeArgs),
    Export(policy_write::ExportArgs),
    Hash(policy_write::HashArgs),
    Init(policy_write::InitArgs),
    Reference(policy_write::ReferenceArgs),
    Schema(policy_write::SchemaArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &PolicyArgs) -> Outcome {
    match &args.command {
        PolicyCommand::Check(args) => policy_audit::check(args),
        PolicyCommand::Lint(args) => policy_audit::lint(args),
        PolicyCommand::Test(args) => policy_audit::test(args),
        PolicyCommand::Eval(args) => policy_ask::eval(args),
        PolicyCommand::Explain(args) => policy_ask::explain(args),
        PolicyCommand::WhyNot(args) => policy_ask::why_not(args),
        PolicyCommand::Diff(args) => policy_compare::diff(args),
        PolicyCommand::Merge(args) => policy_compare::merge(args),
        PolicyCommand::Export(args) => policy_write::export(args),
        PolicyCommand::Hash(args) => policy_write::hash(args),
        PolicyCommand::Init(args) => policy_write::init(args),
        PolicyCommand::Reference(args) => policy_write::reference(args),
        PolicyCommand::Schema(args) => policy_write::schema(args),
    }
}
