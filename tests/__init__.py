"""Tests of ossmount."""
