"""What people and programs get to see of a result: JSON documents, tables, pictures, run folders."""
