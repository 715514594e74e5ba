//! `bizcenter completions`: scripts that complete commands and options in a shell.
use super::{Cli, print};
use clap::CommandFactory;
use clap_complete::Shell;

pub(super) fn run(shell: Shell) -> anyhow::Result<()> {
    print(&script(shell))
}

fn script(shell: Shell) -> String {
    // The script is made in memory first, because the generator panics if it can't write.
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "bizcenter", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_has_a_script() {
        assert_eq!(Shell::value_variants().len(), 5);
        for shell in Shell::value_variants() {
            assert!(script(*shell).contains("create-user"), "{shell}");
        }
    }
}
