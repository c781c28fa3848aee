"""Executed instructions per student, stage and frame on x86-64, counted by callgrind."""
