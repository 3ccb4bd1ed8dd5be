//! Column segments: immutable Arrow IPC files with statistics, checksums and sliced reads.
