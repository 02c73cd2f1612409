//! Cron jobs for the registry. Upstream: `pkg/registry/batch/cronjob`.

mod schedule;
#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::batch::v1::CronJob;
use registry::since;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::core::pod::warnings;
use crate::meta::print;
use crate::optional::{Items, default_text};

type C = Column<CronJob>;

pub struct CronJobs;

impl Strategy for CronJobs {
    type Object = CronJob;

    const INFO: Info = Info::namespaced("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).categories(&["all"]);
    const COLUMNS: &'static [Column<CronJob>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut CronJob) {
        let spec = &mut object.spec;
        spec.job_template.metadata.get_or_insert_default();
        super::job::default_spec(spec.job_template.spec.get_or_insert_default());
        default_text(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut CronJob) {
        object.status = Some(Default::default());
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut CronJob, old: &CronJob) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &CronJob) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &CronJob, old: &CronJob) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings(&self, _cx: &RequestCx, new: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let mut all = Vec::new();
        if old.is_none() {
            all.extend(warnings::controller_name(&new.metadata));
        }
        if old.is_none_or(|old| old.metadata.generation != new.metadata.generation) {
            let path = Path::new("spec").child("jobTemplate").child("spec");
            all.extend(super::job::job_warnings(new.spec.job_template.spec.as_ref(), &path));
        }
        if old.is_some() && new.spec.schedule.contains("TZ") {
            // Upstream's path says `spec` twice.
            all.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        all
    }
}

static COLUMNS: &[Column<CronJob>] = &[
    Column::NAME,
    C::string("Schedule", |o, _| json!(o.spec.schedule))
        .describe("The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    C::string("Timezone", |o, _| json!(o.spec.time_zone.as_deref().unwrap_or("<none>"))).describe("The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones"),
    C::boolean("Suspend", |o, _| {
        json!(match o.spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        })
    }).describe("This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false."),
    C::integer("Active", |o, _| json!(o.status.as_ref().map_or(0, |status| status.active.items().len()))).describe("A list of pointers to currently running jobs."),
    C::string("Last Schedule", |o, cx| {
        let last = o.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
        json!(last.map_or_else(|| "<none>".to_owned(), |last| since(Some(last), cx)))
    }).describe("Information when was the last time the job was successfully scheduled."),
    Column::AGE,
    C::string("Containers", |o, _| {
        print::container_names(o.spec.job_template.spec.as_ref().map(|spec| &spec.template))
    })
    .wide()
    .describe("Names of each container in the template."),
    C::string("Images", |o, _| print::container_images(o.spec.job_template.spec.as_ref().map(|spec| &spec.template)))
        .wide()
        .describe("Images referenced by each container in the template."),
    C::string("Selector", |o, _| {
        json!(print::selector(o.spec.job_template.spec.as_ref().and_then(|spec| spec.selector.as_ref())))
    })
    .wide().describe("A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
];
