//! `--base-role-arn=auto`: bare role names are of the account of the agent's own identity.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::credentials::sts::Sts;
use crate::report::Chain;
use crate::roles::{Base, BaseRoleArn};

/// Between two questions to STS.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The base, once STS has told it; never where none is needed.
pub(super) fn own_base(sts: &Sts, base: &Base) -> impl Future<Output = BaseRoleArn> + use<> {
    let sts = (*base == Base::Own).then(|| sts.clone());
    async move {
        match sts {
            Some(sts) => ask(&sts).await,
            None => std::future::pending().await,
        }
    }
}

async fn ask(sts: &Sts) -> BaseRoleArn {
    let mut said = false;
    loop {
        let error = match sts.identity().await {
            Ok(own) => match BaseRoleArn::of_account(&own.partition, &own.account) {
                Ok(base) => {
                    info!(base = base.as_str(), "bare role names are of the agent's own account");
                    return base;
                }
                Err(error) => Chain(&error).to_string(),
            },
            Err(error) => Chain(&error).to_string(),
        };
        if !std::mem::replace(&mut said, true) {
            warn!(
                error,
                "--base-role-arn=auto: AWS does not tell the agent's own account yet; pods with bare role names wait"
            );
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}
