//! `weir completion SHELL`: a script that completes commands and flags.

use std::io::Write;

use clap_complete::Shell;

use super::CliError;

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir completion bash > /etc/bash_completion.d/weir
  source <(weir completion zsh)
  weir completion fish > ~/.config/fish/completions/weir.fish")]
pub struct CompletionArgs {
    /// Shell to complete in
    shell: Shell,
}

pub(crate) fn run(args: CompletionArgs, mut root: clap::Command, out: &mut dyn Write) -> Result<(), CliError> {
    let name = root.get_name().to_owned();
    // Into memory first: the generator panics when it cannot write, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut root, name, &mut script);
    out.write_all(&script).map_err(CliError::io("writing the completion script"))
}
