//! What a filter would answer: a reader of the few instructions filters are made of. Pure.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
};
use seccompiler::BpfProgram;

/// What a filter answers to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be made.
    Allow,
    /// It is answered with an error, or ends the process.
    Refuse,
}

const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;
const JUMP: u32 = BPF_JMP | BPF_JA;
const JUMP_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const JUMP_GREATER: u32 = BPF_JMP | BPF_JGT | BPF_K;
const JUMP_AT_LEAST: u32 = BPF_JMP | BPF_JGE | BPF_K;
const JUMP_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;

/// Runs `program` on a system call. Anything it does not understand is a refusal.
pub(super) fn verdict(program: &BpfProgram, call: &libc::seccomp_data) -> Verdict {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    // Jumps only go forward, so that each instruction runs at most once.
    while let Some(instruction) = program.get(at) {
        let constant = instruction.k;
        at += 1;
        let mut jump = |is_true: bool| at += usize::from(if is_true { instruction.jt } else { instruction.jf });
        match u32::from(instruction.code) {
            LOAD => match word(call, constant) {
                Some(word) => accumulator = word,
                None => return Verdict::Refuse,
            },
            AND => accumulator &= constant,
            JUMP => at += constant as usize,
            JUMP_EQUAL => jump(accumulator == constant),
            JUMP_GREATER => jump(accumulator > constant),
            JUMP_AT_LEAST => jump(accumulator >= constant),
            JUMP_ANY_BIT => jump(accumulator & constant != 0),
            RETURN if constant == libc::SECCOMP_RET_ALLOW => return Verdict::Allow,
            _ => return Verdict::Refuse,
        }
    }
    Verdict::Refuse
}

/// The 32 bits at `offset` of the kernel's `seccomp_data`, on a little-endian machine.
fn word(call: &libc::seccomp_data, offset: u32) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, reason = "one half of it is meant")]
    let half = |value: u64, at: u32| if at == 0 { value as u32 } else { (value >> 32) as u32 };
    match offset {
        0 => Some(call.nr.cast_unsigned()),
        4 => Some(call.arch),
        8 | 12 => Some(half(call.instruction_pointer, offset - 8)),
        16..64 if offset.is_multiple_of(4) => {
            let argument = call.args.get(((offset - 16) / 8) as usize)?;
            Some(half(*argument, (offset - 16) % 8))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::filter::{AuditPrograms, own_process};

    #[cfg(target_arch = "x86_64")]
    const ARCH: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCH: u32 = 0xc000_00b7;

    fn call(number: libc::c_long, arguments: [u64; 3]) -> libc::seccomp_data {
        let [first, second, third] = arguments;
        let args = [first, second, third, 0, 0, 0];
        libc::seccomp_data { nr: i32::try_from(number).unwrap(), arch: ARCH, instruction_pointer: 0, args }
    }

    #[test]
    fn filters_answer_as_in_the_kernel() {
        let programs = AuditPrograms::new().unwrap();
        let write = (libc::O_WRONLY | libc::O_CREAT).cast_unsigned().into();
        let thread = libc::CLONE_THREAD.cast_unsigned().into();
        // Number, arguments, and whether a nursery and an engine may.
        for (number, arguments, nursery, engine) in [
            (libc::SYS_read, [0; 3], true, true),
            (libc::SYS_openat, [0; 3], true, true),
            (libc::SYS_openat, [0, 0, write], false, false),
            (libc::SYS_openat, [0, 0, libc::O_DIRECTORY.cast_unsigned().into()], true, true),
            (libc::SYS_socket, [2, 1, 0], false, false),
            (libc::SYS_execve, [0; 3], false, false),
            (libc::SYS_clone, [0; 3], true, false),
            (libc::SYS_clone, [thread, 0, 0], true, true),
            (libc::SYS_wait4, [0; 3], true, false),
            (libc::SYS_ptrace, [0; 3], false, false),
            (libc::SYS_openat2, [0; 3], false, true),
            (libc::SYS_prctl, [libc::PR_SET_NAME.cast_unsigned().into(), 0, 0], true, true),
            (libc::SYS_prctl, [libc::PR_SET_DUMPABLE.cast_unsigned().into(), 0, 0], true, false),
        ] {
            let data = call(number, arguments);
            let all = |list: &[BpfProgram]| list.iter().all(|program| verdict(program, &data) == Verdict::Allow);
            assert_eq!((all(&programs.nursery), all(&programs.engine)), (nursery, engine), "call {number}");
        }
        let own = own_process(42).unwrap();
        assert_eq!(verdict(&own, &call(libc::SYS_kill, [42, 0, 0])), Verdict::Allow);
        assert_eq!(verdict(&own, &call(libc::SYS_kill, [43, 0, 0])), Verdict::Refuse);
    }

    #[test]
    fn another_architecture_is_refused() {
        let programs = AuditPrograms::new().unwrap();
        let data = libc::seccomp_data { arch: 3, ..call(libc::SYS_read, [0; 3]) };
        assert!(programs.nursery.iter().all(|program| verdict(program, &data) == Verdict::Refuse));
    }
}
