//! Coming down: containers in order, sandbox, volumes, then the object.
//! Upstream: pkg/kubelet/kubelet.go `SyncTerminatingPod`, `SyncTerminatedPod`;
//! pkg/kubelet/kuberuntime/kuberuntime_termination_order.go.

use jiff::{SignedDuration, Timestamp};

use super::container::{Role, Run};
use super::step::{after, kill};
use super::*;

/// The least that a container is given once it is its turn, even when the pod's grace is used up.
const LEAST_GRACE: SignedDuration = SignedDuration::from_secs(2);
const RETRY: SignedDuration = SignedDuration::from_secs(2);

impl Machine {
    /// Starts coming down, or comes down faster than was asked before.
    pub(super) fn begin_stop(&mut self, cause: Cause, grace: SignedDuration, now: Timestamp) {
        // The kernel's own clock is the floor: with no grace at all a process would not even see its signal.
        let grace = if grace.is_zero() { SignedDuration::from_secs(1) } else { grace };
        let deadline = after(now, grace);
        match &mut self.stop {
            None => self.stop = Some(Stop { cause, deadline, grace }),
            Some(stop) => {
                if deadline < stop.deadline {
                    stop.deadline = deadline;
                    stop.grace = grace;
                }
                // A pod that failed stays failed; deletion is read from the object.
                if matches!(stop.cause, Cause::Completed)
                    && matches!(cause, Cause::Failed { .. })
                    && !self.is_released()
                    && let Some(stop) = &mut self.stop
                {
                    stop.cause = cause;
                }
            }
        }
    }

    /// The object is to go when everything on the node has gone.
    fn is_deleting(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn step_stop(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        self.stop_containers(now, out);
        if self.containers.iter().any(|container| !container.is_down()) {
            return;
        }
        self.stop_sandbox(now, out);
        if !matches!(self.sandbox, Sandbox::None | Sandbox::Stopped(_) | Sandbox::Failed { .. }) {
            return;
        }
        if self.volumes == Volumes::SettingUp
            || matches!(self.volumes, Volumes::Failed { retry, .. } if retry == Timestamp::MAX)
        {
            return;
        }
        self.clean_up(now, out);
    }

    fn stop_containers(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let Some(stop) = self.stop.clone() else { return };
        for index in (0..self.containers.len()).rev() {
            let role = self.containers[index].role;
            let waits = role == Role::Sidecar && !self.later_are_down(index);
            let container = &mut self.containers[index];
            let Run::Running(alive) = &mut container.run else { continue };
            if let Some(kill) = &mut alive.kill {
                // The user has lost patience: tell the runtime about the shorter time.
                if stop.deadline < kill.deadline && role != Role::Sidecar {
                    kill.deadline = stop.deadline;
                    let grace = stop.deadline.duration_since(now).max(SignedDuration::ZERO);
                    out.push(Action::Kill { container: index, id: alive.life.id.clone(), grace, pre_stop: false });
                }
                continue;
            }
            if waits {
                continue;
            }
            let left = stop.deadline.duration_since(now);
            let grace = if role == Role::Sidecar {
                left.max(LEAST_GRACE.min(stop.grace))
            } else {
                left.max(SignedDuration::ZERO)
            };
            let message = format!("Stopping container {}", container.name());
            kill(container, index, grace, false, message, now, out);
        }
    }

    /// Sidecars stop in reverse order, each after everything that was started after it.
    fn later_are_down(&self, index: Index) -> bool {
        let main_down = self
            .containers
            .iter()
            .filter(|container| container.role != Role::Sidecar)
            .all(|container| container.is_down());
        main_down && self.containers[index + 1..].iter().all(|container| container.is_down())
    }

    fn stop_sandbox(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let info = match &self.sandbox {
            Sandbox::Ready(info) => info.clone(),
            Sandbox::StopFailed { info, retry, .. } if *retry <= now => info.clone(),
            // A retry of the creation is under way.
            Sandbox::Failed { retry, .. } if *retry == Timestamp::MAX => {
                self.sandbox = Sandbox::Creating;
                return;
            }
            _ => return,
        };
        out.push(Action::StopSandbox { id: info.id.clone() });
        self.sandbox = Sandbox::Stopping(info);
    }

    fn clean_up(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        match &self.cleanup {
            Cleanup::NotYet if !self.is_deleting() => {
                self.cleanup = Cleanup::Released;
                out.push(Action::ReleaseVolumes);
            }
            Cleanup::NotYet | Cleanup::Released if self.is_deleting() => self.order_clean_up(out),
            Cleanup::Failed { retry, .. } if *retry <= now => self.order_clean_up(out),
            Cleanup::Done if self.gone => self.cleanup = Cleanup::Finished,
            Cleanup::Done => {
                self.cleanup = Cleanup::Deleting;
                out.push(Action::DeleteFromApi);
            }
            Cleanup::DeleteFailed { retry, delay } if *retry <= now => {
                let delay = (*delay + *delay).min(RETRY);
                self.cleanup = Cleanup::DeleteFailed { retry: Timestamp::MAX, delay };
                out.push(Action::DeleteFromApi);
            }
            _ => {}
        }
    }

    fn order_clean_up(&mut self, out: &mut Vec<Action>) {
        self.cleanup = Cleanup::Running;
        out.push(Action::CleanUp);
    }
}
