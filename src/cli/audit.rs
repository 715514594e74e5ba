//! `bizcenter audit verify`.
use super::{print, tenants};
use crate::app;
use crate::base::env::Env;
use crate::config::Config;
use crate::db::audit_chain::{KnownHead, Verification};
use anyhow::{Context, bail};

pub async fn verify(config: Config, heads: Vec<KnownHead>, slug: Option<String>) -> anyhow::Result<()> {
    let parts = app::connect(&config, Env::real()).await?;
    let no_answer = "the database does not answer";
    // The master keys sign the checkpoints.
    app::check::refuse_wrong_keys(&parts.db.check_keys().await.context(no_answer)?)?;
    let tenants = tenants(&parts, slug).await?;
    if let Some(known) = heads.iter().find(|known| !tenants.contains(&known.tenant)) {
        bail!("there is no tenant {} here, whose head was given", known.tenant);
    }
    let mut faults = 0;
    for tenant in tenants {
        let of_tenant: Vec<_> = heads.iter().filter(|known| known.tenant == tenant).map(|known| known.head).collect();
        let found = parts.db.verify_audit(tenant, &of_tenant, &parts.checkpoint_key).await.context(no_answer)?;
        let Verification { checked, unsealed, head, problems } = found;
        let end = head.map_or_else(|| "nothing sealed".to_owned(), |head| KnownHead { tenant, head }.to_string());
        print(&format!("{tenant}: {checked} rows checked, {unsealed} not sealed yet, {end}\n"))?;
        for problem in &problems {
            print(&format!("{tenant}: {problem}\n"))?;
        }
        faults += problems.len();
    }
    match faults {
        0 => Ok(()),
        1 => bail!("the audit log has 1 fault"),
        faults => bail!("the audit log has {faults} faults"),
    }
}
