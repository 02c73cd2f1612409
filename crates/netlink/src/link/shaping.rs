//! A token bucket on a link: what leaves by it is slowed to a rate.

use super::RTM_NEWQDISC;
use crate::socket::Requests;
use crate::wire::flags;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = 0xffff_ffff;
/// What may wait in the queue is what the rate sends in this part of a second.
const LATENCY_PARTS: u64 = 40;

impl Requests {
    /// Limits what leaves by the link to so many bytes a second, by name for the error and by number for the kernel.
    pub fn limit_rate(&mut self, name: &str, link: u32, bytes_a_second: u64) {
        // A bucket smaller than a segment that the stack has not split yet would never let it pass.
        let burst = u32::try_from(bytes_a_second / 100).unwrap_or(u32::MAX).clamp(64 * 1024, 1 << 30);
        let queued = u32::try_from(bytes_a_second / LATENCY_PARTS).unwrap_or(u32::MAX).saturating_add(burst);
        let rate = u32::try_from(bytes_a_second).unwrap_or(u32::MAX);
        self.add(RTM_NEWQDISC, flags::CREATE | flags::REPLACE, format!("limit the rate of {name}"), |writer| {
            let mut header = [0; 20];
            header[4..8].copy_from_slice(&link.to_ne_bytes());
            header[8..12].copy_from_slice(&0x0001_0000_u32.to_ne_bytes());
            header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
            writer.raw(&header);
            writer.string(TCA_KIND, "tbf");
            writer.nested_plain(TCA_OPTIONS, |writer| {
                // `struct tc_tbf_qopt`: two rate specifications of twelve bytes, then limit, buffer and mtu.
                let mut options = [0; 36];
                options[1] = 1; // link layer: Ethernet
                options[8..12].copy_from_slice(&rate.to_ne_bytes());
                options[24..28].copy_from_slice(&queued.to_ne_bytes());
                writer.attribute(TCA_TBF_PARMS, &options);
                writer.attribute(TCA_TBF_BURST, &burst.to_ne_bytes());
                writer.attribute(TCA_TBF_RATE64, &bytes_a_second.to_ne_bytes());
            });
        });
    }
}
