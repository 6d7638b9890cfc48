"""Answers and reports in; atomic claims, each entailed, contradicted or neutral, and four scores out (DNLI)."""
