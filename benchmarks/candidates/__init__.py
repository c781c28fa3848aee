"""What a student could be made of: what each candidate costs, and what it learns in a short training."""
