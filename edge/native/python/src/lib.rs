//! The native engine for Python: conversion only.
