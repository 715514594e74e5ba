//! `bizcenter migrate`: changes the schema of the database step by step, or lists its migrations.
use super::{MigrateCommand, print, prompt};
use crate::app;
use crate::config::Config;
use crate::db::migrations;
use crate::db::migrations::Step;

pub async fn run(config: Config, command: MigrateCommand) -> anyhow::Result<()> {
    let target = app::target(&config)?;
    let steps = match command {
        MigrateCommand::Up => migrations::up(&target).await?,
        MigrateCommand::Down { steps, yes } => {
            if !yes && !prompt::confirm("--yes", "This loses all data that these migrations hold. Go on (yes/no)")? {
                anyhow::bail!("nothing was undone");
            }
            for _ in 1..steps {
                migrations::down(&target).await?;
            }
            migrations::down(&target).await?
        }
        MigrateCommand::Status => migrations::status(&target).await?,
    };
    print(&table(&steps))
}

fn table(steps: &[Step]) -> String {
    let line = |step: &Step| format!("{}  {}\n", if step.applied { "applied" } else { "missing" }, step.name);
    steps.iter().map(line).collect()
}
