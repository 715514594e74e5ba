//! The history of a contract over HTTP.
use super::queries;
use super::types::{ContractHistoryEntry, HistoryFilter};
use crate::api::list::List;
use crate::api::{Caller, Listed, Query};
use crate::base::error::Result;
use crate::db::Db;
use crate::resources::contracts::Tag;
use crate::resources::contracts::{ContractId, Read, SeeAmounts};
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct HistoryApi {
    pub db: Db,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Contracts")]
impl HistoryApi {
    /// List changes of a contract
    #[oai(path = "/contracts/:contract_id/history", method = "get", operation_id = "contract_history_list")]
    async fn list(
        &self,
        caller: Caller<Read>,
        Path(contract_id): Path<ContractId>,
        Query(list): Query<List<HistoryFilter>>,
    ) -> Result<Listed<ContractHistoryEntry>> {
        let amounts = caller.with::<SeeAmounts>().is_some();
        let list = async |tx: &mut _| queries::list(tx, contract_id, &list, amounts).await;
        Ok(Listed(self.db.read(&caller, list).await?))
    }
}
